//! Why there is no toolkit for GPU builds, and the command that installs one.
use std::{io, path::PathBuf, process::ExitStatus};

use flash_protocol::catalogue::ComputeCapability;

/// Where the recipe puts a toolkit, below the user's home: found there without configuration.
pub(super) const RECIPE_PLACE: &str = ".cache/flash/cuda";

/// The wheels with the compiler and the libraries, 1.2 GB. Version 13.0, because many machines' drivers (580)
/// reject kernels of later ones, and because wheels of CUDA 12 have no compiler.
const RECIPE_WHEELS: &str = "cuda-toolkit[nvcc,cudart,crt,nvvm,cccl,nvrtc,cublas,curand]==13.0.*";

/// NVIDIA's own package, from its repository for Debian and Ubuntu.
const PACKAGE: &str = "cuda-toolkit-13-0";

/// Why a GPU build cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CudaError {
    #[error("no CUDA compiler (`nvcc`) found: not on PATH, and not in {}", list(searched))]
    NotFound { searched: Vec<PathBuf> },
    #[error("{named_by} is {}, which has no `bin/nvcc`", home.display())]
    NotAHome { named_by: &'static str, home: PathBuf },
    #[error("cannot start {}", program.display())]
    Start { program: PathBuf, source: io::Error },
    #[error("cannot read the version of {}: {said}", nvcc.display())]
    NoVersion { nvcc: PathBuf, said: String },
    #[error("the CUDA toolkit in {} lacks {}", home.display(), missing.join(", "))]
    Incomplete { home: PathBuf, missing: Vec<String> },
    #[error(
        "CUDA {version} in {} cannot compile for compute capability {}; it supports {}",
        home.display(), list(lacking), list(can)
    )]
    Capabilities {
        home: PathBuf,
        version: String,
        lacking: Vec<ComputeCapability>,
        can: Vec<ComputeCapability>,
    },
    #[error("no compute capability given to compile for")]
    NoCapabilities,
    #[error("{what} failed: `{command}` ended with {status}\n{said}")]
    Trial { what: &'static str, command: String, status: ExitStatus, said: String },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} declares no driver functions", header.display())]
    NoDriverFunctions { header: PathBuf },
}

impl CudaError {
    /// What to do next.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::NotFound { .. } => format!("two ways to install one:\n{}", recipe()),
            Self::NotAHome { named_by, .. } => {
                format!(
                    "set {named_by} to the directory that contains `bin/nvcc`, or remove it; to install one:\n{}",
                    recipe()
                )
            }
            Self::NoVersion { .. } | Self::Incomplete { .. } => {
                format!("install the whole toolkit:\n{}", recipe())
            }
            Self::Capabilities { .. } => format!(
                "install a toolkit that supports it, or set others with `compute_capabilities` under \
                 [build.workers.NAME] in flash.toml:\n{}",
                recipe()
            ),
            Self::NoCapabilities => {
                "set them with `compute_capabilities` under [build.workers.NAME] in flash.toml".to_owned()
            }
            Self::Start { .. } | Self::Trial { .. } => {
                "CUDA's compiler needs a C and C++ compiler: sudo apt-get install -y build-essential; \
                 CUDA 13.0 works with GCC 6 to 15 (set `NVCC_CCBIN` to use another)"
                    .to_owned()
            }
            Self::Read { .. } | Self::Write { .. } => {
                "check the permissions and the free space on the disk".to_owned()
            }
            Self::NoDriverFunctions { .. } => format!("reinstall the toolkit:\n{}", recipe()),
        }
    }
}

/// The two ways to install a toolkit. Neither needs a GPU or a driver.
pub(crate) fn recipe() -> String {
    format!(
        "    without root:  python3 -m venv ~/{RECIPE_PLACE} && ~/{RECIPE_PLACE}/bin/pip install \
         '{RECIPE_WHEELS}'\n    \
         Debian/Ubuntu: sudo apt-get install -y {PACKAGE}   (from NVIDIA's repository: \
         https://developer.nvidia.com/cuda-downloads)"
    )
}

fn list<T: Listed>(items: &[T]) -> String {
    items.iter().map(Listed::text).collect::<Vec<_>>().join(", ")
}

trait Listed {
    fn text(&self) -> String;
}

impl Listed for PathBuf {
    fn text(&self) -> String {
        self.display().to_string()
    }
}

impl Listed for ComputeCapability {
    fn text(&self) -> String {
        self.to_string()
    }
}
