//! What GPU worker types are built with: CUDA's toolkit, or why there is none.
use flash_sdk::manifest::Manifest;

use super::{
    cuda::{self, CudaError, CudaHome, Kernels, Search, toolchains_in},
    plan::{Cuda, Hardware, Plan, Variant, hardware_of},
    steps::{Build, on_thread},
    toolchain::Platform,
};
use crate::{error_chain::error_chain, exit::Failure, project::CudaPolicy};

/// See the module.
pub(super) enum Toolkit {
    Found(CudaHome),
    /// Nothing that is built would use it, or nobody wants it used.
    NotWanted,
    /// Why it cannot be used.
    Missing(String),
}

impl Build<'_> {
    /// Looks for it, if a worker type that is built needs it.
    ///
    /// # Errors
    /// When it is needed and missing; when it was named and is not usable.
    pub(super) async fn toolkit(&self, manifest: &Manifest) -> Result<Toolkit, Failure> {
        let chosen = self.request.selection.of(manifest, &self.commands())?;
        let settings = &self.config.build;
        let policy = self.request.cuda.unwrap_or(settings.cuda);
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
                .hint("add it, or name another with `cuda_feature` under [build] in flash.toml");
            return missing(failure, reason);
        }
        if Platform::of_this_machine() != Some(self.platform) {
            let reason = format!("CUDA builds are for the platform that they run on, not {}", self.platform);
            return missing(Failure::unusable(reason.clone()).hint("build on such a machine"), reason);
        }
        let home = settings.cuda_home.clone();
        match on_thread(move || CudaHome::find(&Search::here(home))).await? {
            Ok(home) => Ok(Toolkit::Found(home)),
            Err(error @ CudaError::NotFound { .. }) => {
                let reason = error_chain(&error);
                missing(error.into(), reason)
            }
            // One that is there or was named, and cannot be used.
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
                 says how to change that"
            ));
        }
    }

    /// What is put before cargo for this binary.
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
