//! The directory that stands in for a CUDA home, and the variables that point cargo to it.
//!
//! A toolkit is not used directly, for three reasons: its `libcuda` must be ours (see `driver`), its runtime must
//! be linked as an archive, so that the image need not have the same version, and its compiler must compile for a
//! list (see `kernels`). So cargo gets a directory of links:
//!
//! ```text
//! bin/nvcc       a script that calls the toolkit's
//! include        a link to the toolkit's
//! lib64, lib     links to its libraries, with the names that linkers look for; libcuda.a, libcudart.a
//! target         cargo's target directory for builds with it
//! complete       what it was made from; written last
//! ```
//!
//! Each toolchain has its own target directory, because build scripts do not notice that a list or a toolkit has
//! changed: they would keep kernels for the old one. With one directory for several lists, they would recompile all
//! kernels, minutes of work, whenever the list changes. A new toolkit discards the old build output.
use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use super::{CudaError, CudaHome, Kernels, compiler::compile, driver};

/// Increased when the directory is made in another way.
const LAYOUT: u32 = 2;

/// The variables for the toolkit's location in candle's build scripts. All are set, because each is searched.
const HOME_VARIABLES: [&str; 4] = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"];

/// A toolkit as presented to cargo.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    root: PathBuf,
    number: u32,
}

impl CudaHome {
    /// Makes its directory below `parent`, or finds it complete, and tries the compiler.
    ///
    /// # Errors
    /// When the toolkit cannot compile for these GPUs, or the C compiler fails.
    pub(crate) fn toolchain(&self, kernels: &Kernels, parent: &Path) -> Result<Toolchain, CudaError> {
        self.check(kernels.capabilities())?;
        let name = format!("cuda{}-{}", self.version(), kernels.name());
        let parent = std::path::absolute(parent)
            .map_err(|source| CudaError::Write { path: parent.to_owned(), source })?;
        let toolchain = Toolchain { root: parent.join(name), number: kernels.lowest().number() };
        let script = kernels.compiler_script(&self.nvcc());
        let made_from = format!("layout {LAYOUT}\nhome {}\n{script}", self.root().display());
        let _alone = lock(&toolchain.root)?;
        let stamp = toolchain.root.join("complete");
        if std::fs::read_to_string(&stamp).is_ok_and(|stamped| stamped == made_from) {
            return Ok(toolchain);
        }
        self.lay_out(&toolchain.root, &script)?;
        toolchain.try_compiler()?;
        write(&stamp, &made_from)?;
        Ok(toolchain)
    }

    fn lay_out(&self, root: &Path, script: &str) -> Result<(), CudaError> {
        match std::fs::remove_dir_all(root) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(CudaError::Write { path: root.to_owned(), source });
            }
            _ => {}
        }
        let (programs, libraries) = (root.join("bin"), root.join("lib64"));
        for directory in [&programs, &libraries] {
            std::fs::create_dir_all(directory)
                .map_err(|source| CudaError::Write { path: directory.clone(), source })?;
        }
        let nvcc = programs.join("nvcc");
        write(&nvcc, script)?;
        std::fs::set_permissions(&nvcc, std::fs::Permissions::from_mode(0o755))
            .map_err(|source| CudaError::Write { path: nvcc.clone(), source })?;
        link(self.include(), &root.join("include"))?;
        link(Path::new("lib64"), &root.join("lib"))?;
        for (name, target) in self.links() {
            link(&target, &libraries.join(name))?;
        }
        driver::make(self.include(), &libraries)
    }

    /// Names in the library directory, and their targets.
    fn links(&self) -> Vec<(String, PathBuf)> {
        let mut links: Vec<(String, PathBuf)> = Vec::new();
        let mut bare: BTreeSet<String> = BTreeSet::new();
        // Sorted, so that a name without a version precedes those with one.
        for (file, path) in self.libraries() {
            if file == "libcudart.so" {
                // The archive must be linked. With a version, the shared library stays: another library may need
                // it.
                continue;
            }
            links.push((file.to_owned(), path.to_owned()));
            let Some((stem, _)) = file.split_once(".so") else { continue };
            // Wheels have only names with a version, and linkers look for those without.
            if bare.insert(stem.to_owned()) && !file.ends_with(".so") && stem != "libcudart" {
                links.push((format!("{stem}.so"), path.to_owned()));
            }
        }
        links.extend(self.runtime_archive().map(|archive| ("libcudart.a".to_owned(), archive.to_owned())));
        links
    }
}

impl Toolchain {
    /// The variables for cargo, in addition to this process's own.
    pub(crate) fn environment(&self) -> Vec<(String, OsString)> {
        let mut environment: Vec<(String, OsString)> =
            HOME_VARIABLES.map(|name| (name.to_owned(), self.root.clone().into())).into();
        environment.extend([
            // If one is set, build scripts use it and query no GPU.
            ("CUDA_COMPUTE_CAP".to_owned(), self.number.to_string().into()),
            ("CARGO_TARGET_DIR".to_owned(), self.root.join("target").into()),
            ("NVCC".to_owned(), self.root.join("bin/nvcc").into()),
            ("PATH".to_owned(), before(&self.root.join("bin"), std::env::var_os("PATH").as_deref())),
        ]);
        environment
    }

    /// The loader's path to the toolkit's libraries, for starting a binary outside its image.
    pub(crate) fn libraries(&self) -> PathBuf {
        self.root.join("lib64")
    }

    /// Compiles a kernel like build scripts do: problems with the compilers show before minutes of work.
    fn try_compiler(&self) -> Result<(), CudaError> {
        let (source, object) = (self.root.join("trial.cu"), self.root.join("trial.o"));
        write(
            &source,
            "#include <cuda_fp16.h>\n__global__ void trial(__half *value) { *value += __half(1); }\n",
        )?;
        let mut nvcc = Command::new(self.root.join("bin/nvcc"));
        nvcc.arg(format!("--gpu-architecture=sm_{}", self.number)).args(["-std=c++17", "-c", "-o"]);
        compile("a trial of the CUDA compiler", nvcc.arg(&object).arg(&source))?;
        for path in [source, object] {
            std::fs::remove_file(&path).map_err(|source| CudaError::Write { path, source })?;
        }
        Ok(())
    }
}

/// Held while a directory is checked and made: crates of one workspace share it.
fn lock(root: &Path) -> Result<File, CudaError> {
    let path = root.with_extension("lock");
    let lock = || {
        std::fs::create_dir_all(path.parent().unwrap_or(root))?;
        let file = File::create(&path)?;
        file.lock()?;
        Ok(file)
    };
    lock().map_err(|source| CudaError::Write { path: path.clone(), source })
}

fn before(directory: &Path, path: Option<&OsStr>) -> OsString {
    let mut all = OsString::from(directory);
    if let Some(path) = path {
        all.push(":");
        all.push(path);
    }
    all
}

fn write(path: &Path, text: &str) -> Result<(), CudaError> {
    std::fs::write(path, text).map_err(|source| CudaError::Write { path: path.to_owned(), source })
}

fn link(target: &Path, path: &Path) -> Result<(), CudaError> {
    symlink(target, path).map_err(|source| CudaError::Write { path: path.to_owned(), source })
}

#[cfg(test)]
#[path = "toolchain/tests.rs"]
mod tests;
