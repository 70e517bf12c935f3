//! Python environments: for the conformance tests, and for the frameworks that flash is compared with.
//!
//! One counts as complete when its last step was done (the stamp, with the requirements it was made from) and every
//! package has the pinned version: an interrupted installation, or one from other requirements, is replaced.
use std::{fs, path::PathBuf};

use super::apt;
use crate::{
    command::{command, run, succeeds},
    failure::Failure,
    output, workspace,
};

/// What the conformance tests need, in this workspace.
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

/// A virtual environment, and what is installed in it.
pub(super) struct Environment {
    directory: PathBuf,
    /// Each package with its version.
    requirements: PathBuf,
}

impl Environment {
    /// With the official `runpod` package and the Hub's own client, for the conformance tests.
    pub(super) fn of_tests() -> Self {
        Self {
            directory: workspace::target().join("test-python"),
            requirements: workspace::root().join(REQUIREMENTS),
        }
    }

    /// With a framework that flash is compared with.
    pub(super) fn of_bench_peer(name: &str) -> Self {
        Self {
            directory: workspace::target().join("bench-peers").join(name),
            requirements: workspace::root().join("xtask/bench/peers").join(name).join("requirements.txt"),
        }
    }

    /// Its interpreter.
    pub(super) fn interpreter(&self) -> PathBuf {
        self.directory.join("bin").join("python")
    }

    /// Makes the environment if it is missing or outdated.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        let Self { directory, requirements } = self;
        let wanted = fs::read_to_string(requirements).map_err(Failure::at(requirements.display()))?;
        let stamp = directory.join("complete");
        if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) && self.verify().is_ok() {
            output::say("Found", &directory.display().to_string());
            return Ok(());
        }
        prepare_venv()?;
        if directory.exists() {
            fs::remove_dir_all(directory)
                .map_err(Failure::at(format!("cannot remove {}", directory.display())))?;
        }
        run(command("python3", &["-m", "venv"]).arg(directory))?;
        let options = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--requirement"];
        let mut install = command(&self.interpreter().display().to_string(), &options);
        run(install.arg(requirements)).map_err(|failure| {
            failure.hint("the packages are downloaded once: this needs the network, and Python 3.10 or later")
        })?;
        self.verify()?;
        // Last: an interrupted installation leaves no stamp.
        fs::write(&stamp, wanted).map_err(Failure::at(stamp.display()))
    }

    /// Whether everything that is pinned is installed; the failure names what is not.
    fn verify(&self) -> Result<(), Failure> {
        let interpreter = self.interpreter().display().to_string();
        let mut verification = command(&interpreter, &["-c", VERIFY]);
        let output = verification.arg(&self.requirements).output().map_err(Failure::at(interpreter))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(Failure::new(String::from_utf8_lossy(&output.stderr).trim().to_owned())
                .hint(format!("remove {} and try again", self.directory.display()))),
        }
    }
}

/// Debian has the module, but a part of it is in a separate package.
pub(super) fn prepare_venv() -> Result<(), Failure> {
    match succeeds("python3", &["-c", "import venv, ensurepip"]) {
        true => Ok(()),
        false => apt::install("venv of Python (`python3 -m venv`)", &["python3", "python3-venv"]),
    }
}
