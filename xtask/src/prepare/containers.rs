//! The programs that tests of images use beside ours: a registry to push to, a tool that reads images, and
//! what runs them.
use std::path::Path;

use super::apt;
use crate::{command::find, failure::Failure, output};

/// Each is the program and the Debian package that has it.
const PROGRAMS: [&str; 6] = ["skopeo", "umoci", "podman", "runc", "crun", "docker-registry"];

/// Installs those that are missing.
pub(super) fn prepare() -> Result<(), Failure> {
    let packages = missing();
    if !packages.is_empty() {
        apt::install(&packages.join(", "), &packages)?;
    }
    if let Some(program) = missing().first() {
        return Err(Failure::new(format!("`{program}` is not found after its package was installed")));
    }
    output::say("Found", &PROGRAMS.join(", "));
    Ok(())
}

fn missing() -> Vec<&'static str> {
    PROGRAMS.into_iter().filter(|program| !is_here(program)).collect()
}

/// Debian puts some of them where only root looks by default; what starts them looks there too.
fn is_here(program: &str) -> bool {
    find(program).is_some() || Path::new("/usr/sbin").join(program).is_file()
}
