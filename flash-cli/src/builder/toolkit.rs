//! CUDA's toolkit for building GPU worker types, or why there is none.
use std::path::PathBuf;

use flash_protocol::manifest::Manifest;
use flash_text::error_chain;

use super::{
    cuda::{self, CudaError, CudaHome, Kernels, Search, toolchains_in},
    plan::{Cuda, Hardware, Plan, Variant, hardware_of},
    request::RunsOn,
    steps::{Build, on_thread},
    toolchain::Platform,
};
use crate::{exit::Failure, project::CudaPolicy};

/// See the module.
pub(super) enum Toolkit {
    Found(CudaHome),
    /// Nothing in the build would use it, or it is turned off.
    NotWanted,
    /// Why it cannot be used.
    Missing(String),
}

impl Build<'_> {
    /// Finds it, if a worker type in the build needs it.
    ///
    /// # Errors
    /// When it is required and missing; when it was set and is not usable.
    pub(super) async fn toolkit(&self, manifest: &Manifest) -> Result<Toolkit, Failure> {
        let chosen = self.request.selection.of(manifest, &self.commands())?;
        let settings = &self.config.build;
        let policy = self.request.cuda.unwrap_or(settings.cuda);
        if matches!(&self.request.runs_on, RunsOn::ThisMachine(capabilities) if capabilities.is_empty()) {
            return Ok(Toolkit::NotWanted);
        }
        if policy == CudaPolicy::Never || chosen.iter().all(|worker| hardware_of(worker) == Hardware::Cpu) {
            return Ok(Toolkit::NotWanted);
        }
        let missing = |failure: Failure, reason: String| match policy {
            CudaPolicy::Require => Err(failure),
            _ => Ok(Toolkit::Missing(reason)),
        };
        if !self.package.features.contains(&settings.cuda_feature) {
            let reason = format!("crate `{}` has no feature `{}`", self.package.name, settings.cuda_feature);
            let failure = Failure::unusable(reason.clone())
                .hint("add it, or set another with `cuda_feature` under [build] in flash.toml");
            return missing(failure, reason);
        }
        if Platform::of_this_machine() != Some(self.platform) {
            let reason =
                format!("CUDA builds work only for this machine's platform, not for {}", self.platform);
            return missing(
                Failure::unusable(reason.clone()).hint("build on a machine of that platform"),
                reason,
            );
        }
        let home = settings.cuda_home.clone();
        match on_thread(move || CudaHome::find(&Search::here(home))).await? {
            Ok(home) => Ok(Toolkit::Found(home)),
            Err(error @ CudaError::NotFound { .. }) => {
                let reason = error_chain(&error);
                missing(error.into(), reason)
            }
            // A toolkit that was found or set but cannot be used.
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn cuda(&self, toolkit: &Toolkit) -> Result<Cuda, Failure> {
        match toolkit {
            Toolkit::Found(_) => Ok(Cuda::With(self.toolchain.dynamic_target(self.platform)?)),
            Toolkit::NotWanted | Toolkit::Missing(_) => Ok(Cuda::Without),
        }
    }

    pub(super) fn warn_without_cuda(&self, plan: &Plan, toolkit: &Toolkit) {
        let Toolkit::Missing(reason) = toolkit else { return };
        for worker in &plan.without_cuda {
            self.output.warning(&format!(
                "{worker} is built without CUDA and runs its models on the CPU: {reason}; `flash build --gpu` \
                 shows how to change that"
            ));
        }
    }

    /// Where a binary finds CUDA's libraries outside of an image.
    pub(super) fn own_libraries(&self, toolkit: &Toolkit) -> Vec<PathBuf> {
        match (toolkit, &self.request.runs_on) {
            (Toolkit::Found(home), RunsOn::ThisMachine(_)) => home.library_directories(),
            _ => Vec::new(),
        }
    }

    /// The toolchain to present to cargo for this binary.
    pub(super) async fn cuda_toolchain(
        &self,
        variant: &Variant,
        toolkit: &Toolkit,
    ) -> Result<Option<cuda::Toolchain>, Failure> {
        let (Some(capabilities), Toolkit::Found(home)) = (&variant.capabilities, toolkit) else {
            return Ok(None);
        };
        let kernels = Kernels::new(capabilities.iter().copied())?;
        let (home, parent) = (home.clone(), toolchains_in(&self.package.target_directory));
        Ok(Some(on_thread(move || home.toolchain(&kernels, &parent)).await??))
    }
}
