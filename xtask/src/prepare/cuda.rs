//! CUDA's compiler and libraries, from Python wheels: no GPU, driver or root is needed.
//!
//! A virtual environment counts as complete when its last step, the stamp, was written: it holds what was
//! installed.
use std::{fs, path::PathBuf};

use super::python::prepare_venv;
use crate::{
    command::{command, run},
    failure::Failure,
    output, workspace,
};

/// The same recipe as in `flash doctor`. Not later than 13.0, because common drivers reject kernels of a later
/// version.
const WHEELS: &str = "cuda-toolkit[nvcc,cudart,crt,nvvm,cccl,nvrtc,cublas,curand]==13.0.*";

/// Where the environment is. `flash` finds the toolkit in it.
pub(super) fn directory() -> PathBuf {
    workspace::target().join("cuda-python")
}

/// Installs it if it is missing or another version.
pub(super) fn prepare() -> Result<(), Failure> {
    let directory = directory();
    let stamp = directory.join("complete");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == WHEELS) {
        output::say("Found", &directory.display().to_string());
        return Ok(());
    }
    prepare_venv()?;
    if directory.exists() {
        fs::remove_dir_all(&directory)
            .map_err(Failure::at(format!("cannot remove {}", directory.display())))?;
    }
    run(command("python3", &["-m", "venv"]).arg(&directory))?;
    let python = directory.join("bin").join("python");
    let options = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", WHEELS];
    run(&mut command(&python.display().to_string(), &options))
        .map_err(|failure| failure.hint("1.2 GB are downloaded once; this needs the network"))?;
    // Last: an interrupted installation leaves no stamp.
    fs::write(&stamp, WHEELS).map_err(Failure::at(stamp.display()))
}
