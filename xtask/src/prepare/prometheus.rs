//! Prometheus and its `promtool`, which read the metrics in a test. Where there is no apt-get, it is left out.
//!
//! Debian's package is unpacked and not installed: installed, it would start a service.
use std::path::{Path, PathBuf};

use super::apt;
use crate::{command::find, failure::Failure, output, workspace};

const PACKAGE: &str = "prometheus";
const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];

/// Unpacks the package if its programs are missing. The directory with them; `None` without apt-get.
pub(super) fn prepare() -> Result<Option<PathBuf>, Failure> {
    if let Some(directory) = on_path() {
        output::say("Found", &directory.display().to_string());
        return Ok(Some(directory));
    }
    let complete = workspace::target().join("test-prometheus");
    let programs = complete.join("usr/bin");
    if has_both(&programs) {
        output::say("Found", &programs.display().to_string());
        return Ok(Some(programs));
    }
    if find("apt-get").is_none() || find("dpkg-deb").is_none() {
        output::say("Left out", "the test with Prometheus: neither it nor apt-get is on PATH");
        return Ok(None);
    }
    apt::unpack(&[PACKAGE], &complete)?;
    match has_both(&programs) {
        true => Ok(Some(programs)),
        false => Err(Failure::new(format!("{} lacks one of {PROGRAMS:?}", programs.display()))),
    }
}

/// The directory of `PATH` that has both.
fn on_path() -> Option<PathBuf> {
    let directory = find(PROGRAMS[0])?.parent()?.to_owned();
    has_both(&directory).then_some(directory)
}

fn has_both(directory: &Path) -> bool {
    PROGRAMS.iter().all(|program| directory.join(program).is_file())
}
