//! Other programs that tests of images use: a registry to push to, a tool that reads images, and tools that run
//! them.
use std::path::Path;

use super::apt;
use crate::{command::find, failure::Failure, output};

/// Each program and its Debian package.
const PROGRAMS: [&str; 6] = ["skopeo", "umoci", "podman", "runc", "crun", "docker-registry"];

/// Installs those that are missing.
pub(super) fn prepare() -> Result<(), Failure> {
    let packages = missing();
    if !packages.is_empty() {
        apt::install(&packages.join(", "), &packages)?;
    }
    if let Some(program) = missing().first() {
        return Err(Failure::new(format!("`{program}` is not on PATH after its package was installed")));
    }
    output::say("Found", &PROGRAMS.join(", "));
    Ok(())
}

fn missing() -> Vec<&'static str> {
    PROGRAMS.into_iter().filter(|program| !is_here(program)).collect()
}

/// Debian puts some of them where only root's PATH finds them; the programs that start them look there too.
fn is_here(program: &str) -> bool {
    find(program).is_some() || Path::new("/usr/sbin").join(program).is_file()
}
