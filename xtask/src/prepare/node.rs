//! The official Node client of OpenAI and axe-core, for the tests. Where there is no npm, those that need them are left
//! out.
//!
//! It counts as complete when its last step was done: the stamp, with the lock file that it was made from.
use std::{fs, path::PathBuf};

use crate::{
    command::{command, find, run},
    failure::Failure,
    output, workspace,
};

/// The package and its lock file, in this workspace.
const PACKAGE: &str = "flash-cli/tests/conformance/node";
const FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// Installs the package if it is missing or outdated. The directory of its modules; `None` without npm.
pub(super) fn prepare() -> Result<Option<PathBuf>, Failure> {
    if find("node").is_none() || find("npm").is_none() {
        output::say(
            "Left out",
            "tests of OpenAI's client for Node and of accessibility: there is no node and npm",
        );
        return Ok(None);
    }
    let (package, directory) = (workspace::root().join(PACKAGE), workspace::target().join("test-node"));
    let (stamp, modules) = (directory.join("complete"), directory.join("node_modules"));
    let lock = package.join(FILES[1]);
    let wanted = fs::read_to_string(&lock).map_err(Failure::at(lock.display()))?;
    if fs::read_to_string(&stamp).is_ok_and(|made_from| made_from == wanted) {
        output::say("Found", &directory.display().to_string());
        return Ok(Some(modules));
    }
    fs::create_dir_all(&directory).map_err(Failure::at(directory.display()))?;
    for file in FILES {
        fs::copy(package.join(file), directory.join(file)).map_err(Failure::at(file))?;
    }
    let options = ["ci", "--ignore-scripts", "--no-audit", "--no-fund"];
    run(command("npm", &options).current_dir(&directory))
        .map_err(|failure| failure.hint("the package is downloaded once: this needs the network"))?;
    // Last: an interrupted installation leaves no stamp.
    fs::write(&stamp, wanted).map_err(Failure::at(stamp.display()))?;
    Ok(Some(modules))
}
