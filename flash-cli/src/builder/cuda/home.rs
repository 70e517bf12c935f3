//! Finds a CUDA toolkit and checks that it has what candle needs.
//!
//! A toolkit set by the user is used or rejected: never silently replaced by another one.
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flash_protocol::catalogue::ComputeCapability;

use super::error::{CudaError, RECIPE_PLACE};

/// Variables that set the toolkit; the first one set counts. They are those that candle's build scripts read.
const VARIABLES: [&str; 3] = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT"];
/// Where NVIDIA's packages install it.
const USUAL_PLACE: &str = "/usr/local/cuda";
/// The library directories of a toolkit: NVIDIA's packages, its wheels, Debian's own package.
const LIBRARIES: [&str; 5] =
    ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib", "lib/x86_64-linux-gnu"];
const INCLUDES: [&str; 3] = ["include", "targets/x86_64-linux/include", "targets/sbsa-linux/include"];
/// What candle links: the runtime from its archive, the others as shared libraries of the image.
const NEEDED_LIBRARIES: [&str; 4] = ["cublas", "cublasLt", "curand", "nvrtc"];
const RUNTIME_ARCHIVE: &str = "libcudart_static.a";
/// What candle's kernels include; `crt/host_config.h` represents the part that is separate in wheels.
const NEEDED_HEADERS: [&str; 4] = ["cuda.h", "cuda_runtime.h", "cuda_fp16.h", "crt/host_config.h"];

/// Where to look. The environment is a parameter for the sake of tests.
pub(crate) struct Search<'a> {
    /// `[build] cuda_home` of flash.toml.
    pub configured: Option<PathBuf>,
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

impl Search<'_> {
    /// In the environment of this process.
    pub(crate) fn here(configured: Option<PathBuf>) -> Search<'static> {
        Search { configured, variable: &|name| std::env::var_os(name) }
    }
}

/// The release of a toolkit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CudaVersion {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A toolkit with everything that candle needs.
#[derive(Debug, Clone)]
pub(crate) struct CudaHome {
    root: PathBuf,
    version: CudaVersion,
    /// What its compiler can compile for, sorted.
    capabilities: Vec<ComputeCapability>,
    include: PathBuf,
    /// Library files by name; if several directories have one, the first counts.
    libraries: BTreeMap<String, PathBuf>,
}

impl CudaHome {
    /// Finds a toolkit and checks it.
    ///
    /// # Errors
    /// When none is found, or the one found is incomplete.
    pub(crate) fn find(search: &Search<'_>) -> Result<Self, CudaError> {
        Self::open(&locate(search)?)
    }

    /// The toolkit in this directory.
    fn open(root: &Path) -> Result<Self, CudaError> {
        let nvcc = nvcc_of(root);
        let version = version_of(&ask(&nvcc, "--version")?)
            .map_err(|said| CudaError::NoVersion { nvcc: nvcc.clone(), said })?;
        let capabilities = capabilities_of(&ask(&nvcc, "--list-gpu-code")?);
        let libraries = libraries_in(root);
        let include =
            INCLUDES.map(|below| root.join(below)).into_iter().find(|path| path.join("cuda.h").is_file());
        let mut missing = Vec::new();
        for name in NEEDED_LIBRARIES {
            if !libraries.keys().any(|file| is_library(file, name)) {
                missing.push(format!("lib{name}.so"));
            }
        }
        if !libraries.contains_key(RUNTIME_ARCHIVE) {
            missing.push(RUNTIME_ARCHIVE.to_owned());
        }
        for header in NEEDED_HEADERS {
            if !include.as_ref().is_some_and(|include| include.join(header).is_file()) {
                missing.push(format!("include/{header}"));
            }
        }
        match include {
            Some(include) if missing.is_empty() => {
                Ok(Self { root: root.to_owned(), version, capabilities, include, libraries })
            }
            _ => Err(CudaError::Incomplete { home: root.to_owned(), missing }),
        }
    }

    /// The directory that contains `bin/nvcc`.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn version(&self) -> CudaVersion {
        self.version
    }

    /// What its compiler can compile for, sorted.
    pub(crate) fn capabilities(&self) -> &[ComputeCapability] {
        &self.capabilities
    }

    pub(super) fn nvcc(&self) -> PathBuf {
        nvcc_of(&self.root)
    }

    pub(super) fn include(&self) -> &Path {
        &self.include
    }

    /// Its library files, by name.
    pub(super) fn libraries(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.libraries.iter().map(|(name, path)| (name.as_str(), path.as_path()))
    }

    /// The directories of its shared libraries.
    pub(crate) fn library_directories(&self) -> Vec<PathBuf> {
        let shared = self.libraries().filter(|(name, _)| name.contains(".so"));
        let directories: BTreeSet<&Path> = shared.filter_map(|(_, path)| path.parent()).collect();
        directories.into_iter().map(Path::to_path_buf).collect()
    }

    /// The archive of the CUDA runtime.
    pub(super) fn runtime_archive(&self) -> Option<&Path> {
        self.libraries.get(RUNTIME_ARCHIVE).map(PathBuf::as_path)
    }

    /// Whether its compiler can compile for all of these.
    ///
    /// # Errors
    /// Those that it does not support.
    pub(super) fn check(&self, wanted: &[ComputeCapability]) -> Result<(), CudaError> {
        let lacking: Vec<_> =
            wanted.iter().copied().filter(|wanted| !self.capabilities.contains(wanted)).collect();
        match lacking.is_empty() {
            true => Ok(()),
            false => Err(CudaError::Capabilities {
                home: self.root.clone(),
                version: self.version.to_string(),
                lacking,
                can: self.capabilities.clone(),
            }),
        }
    }
}

/// `libNAME.so` or `libNAME.so.VERSION`.
fn is_library(file: &str, name: &str) -> bool {
    let rest = file.strip_prefix("lib").and_then(|rest| rest.strip_prefix(name));
    rest.and_then(|rest| rest.strip_prefix(".so"))
        .is_some_and(|version| version.is_empty() || version.starts_with('.'))
}

/// CUDA's libraries in a toolkit's directories. Debian's own package puts them among the system's other libraries,
/// hence the prefixes; the driver's do not belong to the toolkit.
fn libraries_in(root: &Path) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for directory in LIBRARIES.map(|below| root.join(below)) {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let is_cuda =
                ["libcu", "libnv", "libnpp", "libnccl"].iter().any(|prefix| name.starts_with(prefix));
            let is_driver = name.starts_with("libcuda.") || name.starts_with("libnvidia-");
            if is_cuda && !is_driver && (name.ends_with(".a") || name.contains(".so")) {
                found.entry(name).or_insert_with(|| entry.path());
            }
        }
    }
    found
}

fn nvcc_of(root: &Path) -> PathBuf {
    root.join("bin").join("nvcc")
}

/// The directory of the toolkit to use.
fn locate(search: &Search<'_>) -> Result<PathBuf, CudaError> {
    if let Some(configured) = &search.configured {
        return named("[build] cuda_home", configured);
    }
    for variable in VARIABLES {
        if let Some(value) = (search.variable)(variable).filter(|value| !value.is_empty()) {
            return named(variable, Path::new(&value));
        }
    }
    if let Some(path) = (search.variable)("PATH")
        && let Some(nvcc) = std::env::split_paths(&path).map(|directory| directory.join("nvcc")).find(|nvcc| nvcc.is_file())
        // Resolved, because the file on PATH may be a link from another directory.
        && let Some(root) = nvcc.canonicalize().ok().as_deref().and_then(Path::parent).and_then(Path::parent)
    {
        return Ok(root.to_owned());
    }
    let own = (search.variable)("HOME").map(|home| Path::new(&home).join(RECIPE_PLACE));
    let searched: Vec<PathBuf> = [Some(PathBuf::from(USUAL_PLACE)), own].into_iter().flatten().collect();
    searched.iter().find_map(|place| home_in(place)).ok_or(CudaError::NotFound { searched })
}

/// The toolkit set by the user: it must exist.
fn named(named_by: &'static str, place: &Path) -> Result<PathBuf, CudaError> {
    home_in(place).ok_or_else(|| CudaError::NotAHome { named_by, home: place.to_owned() })
}

/// The toolkit in this place: the place itself, or the wheels of a Python environment there.
fn home_in(place: &Path) -> Option<PathBuf> {
    let is_home = |root: &PathBuf| nvcc_of(root).is_file();
    let absolute = std::path::absolute(place).ok()?;
    if is_home(&absolute) {
        return Some(absolute);
    }
    let below = |directory: &Path, prefix: &str| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let fits = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
        let mut paths: Vec<PathBuf> = fits.map(|entry| entry.path()).collect();
        paths.sort();
        paths
    };
    // lib/python3.12/site-packages/nvidia/cu13
    let mut homes: Vec<PathBuf> = below(&absolute.join("lib"), "python3")
        .into_iter()
        .flat_map(|python| below(&python.join("site-packages/nvidia"), "cu"))
        .filter(is_home)
        .collect();
    homes.pop()
}

/// What a compiler prints when called with these arguments.
fn ask(nvcc: &Path, question: &str) -> Result<String, CudaError> {
    let output = Command::new(nvcc)
        .arg(question)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CudaError::Start { program: nvcc.to_owned(), source })?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// `Cuda compilation tools, release 13.0, V13.0.88`. The error is what it printed instead.
fn version_of(said: &str) -> Result<CudaVersion, String> {
    let number = |text: &str| text.parse().ok();
    said.lines()
        .filter_map(|line| line.split_once("release ")?.1.split(',').next()?.trim().split_once('.'))
        .find_map(|(major, minor)| Some(CudaVersion { major: number(major)?, minor: number(minor)? }))
        .ok_or_else(|| said.lines().next().unwrap_or("it prints nothing").to_owned())
}

/// One line for each, such as `sm_89`.
fn capabilities_of(said: &str) -> Vec<ComputeCapability> {
    let numbers = said.lines().filter_map(|line| line.trim().strip_prefix("sm_")?.parse().ok());
    let mut capabilities: Vec<_> = numbers.filter_map(ComputeCapability::from_number).collect();
    capabilities.sort_unstable();
    capabilities.dedup();
    capabilities
}

#[cfg(test)]
#[path = "home/tests.rs"]
pub(super) mod tests;
