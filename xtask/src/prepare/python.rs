//! A Python environment with the official `runpod` package and the Hub's own client, for the conformance tests.
//!
//! It counts as complete when its last step was done (the stamp, with the requirements it was made from) and every
//! package has the pinned version: an interrupted installation, or one from other requirements, is replaced.
use std::{
    fs,
    path::{Path, PathBuf},
};

use super::apt;
use crate::{
    command::{command, run, succeeds},
    failure::Failure,
    output, workspace,
};

/// The installed requirements, in this workspace.
const REQUIREMENTS: &str = "flash-cli/tests/conformance/requirements.txt";

/// Exits with 1, naming the differences, unless each requirement that applies here is installed as pinned.
const VERIFY: &str = r##"
import importlib.metadata as metadata, sys
from pip._vendor.packaging.requirements import Requirement
wrong = []
for line in open(sys.argv[1]):
    line = line.split("#")[0].strip()
    if not line:
        continue
    wanted = Requirement(line)
    if wanted.marker and not wanted.marker.evaluate():
        continue
    try:
        found = metadata.version(wanted.name)
        fits = wanted.specifier.contains(found, prereleases=True)
    except metadata.PackageNotFoundError:
        found, fits = "nothing", False
    if not fits:
        wrong.append(f"{line}: {found} is installed")
sys.exit("\n".join(wrong) or None)
"##;

/// Where the environment is.
fn directory() -> PathBuf {
    workspace::target().join("test-python")
}

/// Its interpreter.
pub(super) fn interpreter() -> PathBuf {
    directory().join("bin").join("python")
}

/// Makes the environment if it is missing or outdated.
pub(super) fn prepare() -> Result<(), Failure> {
    let requirements = workspace::root().join(REQUIREMENTS);
    let wanted = fs::read_to_string(&requirements).map_err(Failure::at(requirements.display()))?;
    let stamp = directory().join("complete");
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) && verify(&requirements).is_ok()
    {
        output::say("Found", &directory().display().to_string());
        return Ok(());
    }
    prepare_venv()?;
    if directory().exists() {
        fs::remove_dir_all(directory())
            .map_err(Failure::at(format!("cannot remove {}", directory().display())))?;
    }
    run(command("python3", &["-m", "venv"]).arg(directory()))?;
    let options = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--requirement"];
    run(command(&interpreter().display().to_string(), &options).arg(&requirements)).map_err(|failure| {
        failure.hint("the packages are downloaded once: this needs the network, and Python 3.10 or later")
    })?;
    verify(&requirements)?;
    // Last: an interrupted installation leaves no stamp.
    fs::write(&stamp, wanted).map_err(Failure::at(stamp.display()))
}

/// Debian has the module, but a part of it is in a separate package.
pub(super) fn prepare_venv() -> Result<(), Failure> {
    match succeeds("python3", &["-c", "import venv, ensurepip"]) {
        true => Ok(()),
        false => apt::install("venv of Python (`python3 -m venv`)", &["python3", "python3-venv"]),
    }
}

/// Whether everything that is pinned is installed; the failure names what is not.
fn verify(requirements: &Path) -> Result<(), Failure> {
    let mut verification = command(&interpreter().display().to_string(), &["-c", VERIFY]);
    let output = verification.arg(requirements).output().map_err(Failure::at(interpreter().display()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(Failure::new(String::from_utf8_lossy(&output.stderr).trim().to_owned())
            .hint(format!("remove {} and try again", directory().display()))),
    }
}
