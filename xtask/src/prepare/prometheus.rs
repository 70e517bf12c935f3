//! Prometheus and its `promtool`, which read the metrics in a test. Where there is no apt-get, it is left out.
//!
//! Debian's package is unpacked and not installed: installed, it would start a service. It counts as complete when its last
//! step was done: the directory with its name.
use std::{
    fs,
    path::{Path, PathBuf},
};

use super::apt;
use crate::{
    command::{command, find, run},
    failure::Failure,
    output, workspace,
};

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
    let (download, unpacked) = (complete.with_extension("download"), complete.with_extension("unpacked"));
    for directory in [&complete, &download, &unpacked] {
        let _ = fs::remove_dir_all(directory);
    }
    fs::create_dir_all(&download).map_err(Failure::at(download.display()))?;
    apt::download(PACKAGE, &download)?;
    let archive = archive_in(&download)?;
    run(command("dpkg-deb", &["--extract"]).args([&archive, &unpacked]))?;
    // Last: an interrupted preparation leaves no directory with that name.
    fs::rename(&unpacked, &complete).map_err(Failure::at(complete.display()))?;
    let _ = fs::remove_dir_all(&download);
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

/// The downloaded package, whose name has its version.
fn archive_in(directory: &Path) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(directory).map_err(Failure::at(directory.display()))?;
    let archive = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"));
    archive.ok_or_else(|| Failure::new(format!("no package in {} after its download", directory.display())))
}
