//! Runs a compiler, for what a build needs beside the project.
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use super::CudaError;

/// Runs a compiler. Its output is shown only in an error.
pub(super) fn compile(what: &'static str, command: &mut Command) -> Result<(), CudaError> {
    let program = PathBuf::from(command.get_program());
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|source| CudaError::Start { program: program.clone(), source })?;
    match output.status.success() {
        true => Ok(()),
        false => Err(CudaError::Trial {
            what,
            command: program.display().to_string(),
            status: output.status,
            said: String::from_utf8_lossy(&output.stderr).trim_end().to_owned(),
        }),
    }
}
