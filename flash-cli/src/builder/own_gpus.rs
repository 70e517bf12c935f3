//! Builds for the GPUs of this machine: of apps that run here as processes and in no image.
//!
//! Such a binary is compiled for these GPUs alone, and finds CUDA's libraries in the toolkit that it was linked with.
use std::{collections::BTreeSet, path::Path};

use flash_platform::Gpu;
use flash_protocol::catalogue::ComputeCapability;

use super::{
    compile::{library_flags, with_flags},
    cuda::{CudaError, CudaHome, Kernels, Search, toolchains_in},
    steps::on_thread,
};
use crate::{
    exit::Failure,
    output::Output,
    project::{Build, Config, CudaPolicy, Package},
};

/// What the GPUs of this machine can run; empty without a GPU, or where its driver does not say.
pub(crate) async fn own_capabilities() -> BTreeSet<ComputeCapability> {
    flash_platform::gpus_of_machine().await.iter().filter_map(|gpu| gpu.capability).collect()
}

/// What is known before the one binary of `flash run` is built.
struct Known<'a> {
    gpus: &'a [Gpu],
    policy: CudaPolicy,
    /// Whether the crate has the feature for CUDA.
    has_feature: bool,
    /// Whether the app had a GPU worker type when it was built last; `None` if it never was.
    had_gpu_worker: Option<bool>,
}

impl Known<'_> {
    /// What to compile for; `None` for the CPU alone.
    ///
    /// # Errors
    /// Why the GPUs cannot be used, although the app might.
    fn decide(&self) -> Result<Option<BTreeSet<ComputeCapability>>, &'static str> {
        let is_for_gpus = self.had_gpu_worker.unwrap_or(self.has_feature);
        if self.policy == CudaPolicy::Never || self.gpus.is_empty() || !is_for_gpus {
            return Ok(None);
        }
        if !self.has_feature {
            return Err("the crate has no feature for CUDA");
        }
        let capabilities: BTreeSet<_> = self.gpus.iter().filter_map(|gpu| gpu.capability).collect();
        match capabilities.is_empty() {
            true => {
                Err("the driver does not say what to compile for: `nvidia-smi --query-gpu=compute_cap` does")
            }
            false => Ok(Some(capabilities)),
        }
    }
}

/// The build of `flash run`, with CUDA if this machine has GPUs that the app can use.
///
/// # Errors
/// If `cuda = "require"` and they cannot be used; if CUDA's toolkit is there and cannot be used.
pub(crate) async fn for_own_gpus(
    build: Build,
    package: &Package,
    config: &Config,
    had_gpu_worker: Option<bool>,
    output: &Output,
) -> Result<Build, Failure> {
    let settings = &config.build;
    let gpus = flash_platform::gpus_of_machine().await;
    let known = Known {
        gpus: &gpus,
        policy: settings.cuda,
        has_feature: package.features.contains(&settings.cuda_feature),
        had_gpu_worker,
    };
    let unused = |reason: String| match settings.cuda {
        CudaPolicy::Require => Err(Failure::unusable(format!("`cuda = \"require\"`: {reason}"))),
        _ => {
            let names: Vec<&str> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
            output.warning(&format!(
                "the app is built without CUDA and does not use {}: {reason}",
                names.join(", ")
            ));
            Ok(())
        }
    };
    let capabilities = match known.decide() {
        Ok(Some(capabilities)) => capabilities,
        Ok(None) => return Ok(build),
        Err(reason) => return unused(reason.to_owned()).map(|()| build),
    };
    let home = settings.cuda_home.clone();
    let home = match on_thread(move || CudaHome::find(&Search::here(home))).await? {
        Ok(home) => home,
        Err(error @ CudaError::NotFound { .. }) => {
            return unused(flash_text::error_chain(&error)).map(|()| build);
        }
        // A toolkit that was found or set but cannot be used.
        Err(error) => return Err(error.into()),
    };
    let (parent, feature) = (toolchains_in(&package.target_directory), settings.cuda_feature.clone());
    let build = on_thread(move || with_cuda(build, &home, capabilities, &parent, feature)).await??;
    let names: Vec<&str> = gpus.iter().map(|gpu| gpu.name.as_str()).collect();
    output.status("CUDA", &format!("the app is built for {}", names.join(", ")));
    Ok(build)
}

/// The same build, with this toolkit. Blocks: it tries the compiler.
fn with_cuda(
    build: Build,
    home: &CudaHome,
    capabilities: BTreeSet<ComputeCapability>,
    parent: &Path,
    feature: String,
) -> Result<Build, CudaError> {
    let toolchain = home.toolchain(&Kernels::new(capabilities)?, parent)?;
    let mut build = with_flags(build, &library_flags(&home.library_directories()));
    if !build.features.contains(&feature) {
        build.features.push(feature);
    }
    build.environment.extend(toolchain.environment());
    Ok(build)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builder::cuda::toolkit_of_test as toolkit;

    fn gpu(capability: Option<&str>) -> Gpu {
        Gpu::new("GPU-aa", "NVIDIA L4", Some(23_034), capability.map(|known| known.parse().unwrap()))
    }

    fn decide(
        gpus: &[Gpu],
        policy: CudaPolicy,
        has_feature: bool,
        had_gpu_worker: Option<bool>,
    ) -> Result<Vec<String>, &'static str> {
        let decided = Known { gpus, policy, has_feature, had_gpu_worker }.decide()?;
        Ok(decided.into_iter().flatten().map(|known| known.to_string()).collect())
    }

    #[test]
    fn an_app_for_gpus_is_compiled_for_those_that_are_here() {
        let when = CudaPolicy::WhenAvailable;
        let two = [gpu(Some("8.9")), gpu(Some("9.0")), gpu(Some("8.9"))];
        for had_gpu_worker in [Some(true), None] {
            assert_eq!(
                decide(&two, when, true, had_gpu_worker),
                Ok(vec!["8.9".to_owned(), "9.0".to_owned()])
            );
        }
        let none = Ok(Vec::new());
        assert_eq!(decide(&two, when, true, Some(false)), none, "it has no GPU worker type");
        assert_eq!(decide(&two, when, false, None), none, "nothing says that it is for GPUs");
        assert_eq!(decide(&two, CudaPolicy::Never, true, Some(true)), none);
        assert_eq!(
            decide(&[], CudaPolicy::Require, true, Some(true)),
            none,
            "on the CPU, as without a driver"
        );
    }

    #[test]
    fn a_gpu_that_stays_unused_has_a_reason() {
        let when = CudaPolicy::WhenAvailable;
        assert!(decide(&[gpu(Some("8.9"))], when, false, Some(true)).unwrap_err().contains("no feature"));
        assert!(decide(&[gpu(None)], when, true, Some(true)).unwrap_err().contains("nvidia-smi"));
    }

    #[test]
    fn cargo_gets_the_feature_the_toolkit_and_where_libraries_are() {
        let directory = tempfile::TempDir::new().unwrap();
        let root = directory.path().join("toolkit");
        toolkit(&root, "13.0", "sm_89\\n", "lib64");
        std::fs::write(root.join("include/cuda.h"), "CUresult CUDAAPI cuInit(unsigned int Flags);\n")
            .unwrap();
        let nvcc = std::fs::read_to_string(root.join("bin/nvcc")).unwrap();
        let compiling = "*) for word do [ \"$last\" = -o ] && : > \"$word\"; last=$word; done; : ;;";
        std::fs::write(root.join("bin/nvcc"), nvcc.replace("*) : ;;", compiling)).unwrap();
        let home = CudaHome::find(&Search { configured: Some(root.clone()), variable: &|_| None }).unwrap();
        let capabilities = BTreeSet::from(["8.9".parse().unwrap()]);
        let build = Build { features: vec!["own".to_owned()], ..Build::default() };
        let built = with_cuda(build, &home, capabilities, directory.path(), "cuda".to_owned()).unwrap();
        assert_eq!(built.features, ["own", "cuda"]);
        let of = |name: &str| {
            built.environment.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone())
        };
        assert_eq!(of("CUDA_COMPUTE_CAP"), Some("89".into()));
        assert!(of("CARGO_TARGET_DIR").is_some());
        let flags = of("CARGO_ENCODED_RUSTFLAGS").or(built.arguments.last().cloned()).unwrap();
        let search = format!("-rpath,{}", root.join("lib64").display());
        assert!(flags.to_str().unwrap().contains(&search), "{flags:?}");
    }

    #[test]
    fn the_flags_name_each_directory_of_libraries() {
        let flags = library_flags(&["/cuda/lib64".into(), "/more".into()]);
        assert_eq!(flags.len(), 3);
        assert_eq!(flags[1], "-Clink-arg=-Wl,-rpath,/cuda/lib64");
    }
}
