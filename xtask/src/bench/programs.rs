//! The programs of the benchmark: built with optimization, started on free ports.
use std::{
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::server::Server;
use crate::{
    command::{cargo, command, run},
    failure::Failure,
    workspace,
};

/// Includes an up-to-date build of the app.
const START: Duration = Duration::from_secs(120);

pub(super) fn release(program: &str) -> PathBuf {
    workspace::target().join("release").join(program)
}

/// Replaces itself with the release build of this program; returns only on failure.
pub(super) fn become_release_build() -> Failure {
    if let Err(failure) = run(&mut cargo(&["build", "--release", "-p", "xtask"])) {
        return failure;
    }
    let program = release("xtask");
    let error = command(&program.to_string_lossy(), &[]).args(std::env::args_os().skip(1)).exec();
    Failure::new(format!("cannot start {}: {error}", program.display()))
}

/// As `flash run --release` builds an app: for this processor. With other flags the app would be built once more there,
/// within the time that it has to start, and the two sides of a comparison would not have the same instructions.
const FLAGS: &str = "build.rustflags=[\"-Ctarget-cpu=native\"]";

/// Builds packages.
pub(super) fn build(packages: &[&str]) -> Result<(), Failure> {
    // One by one, as `flash run` does too.
    let build = |package: &&str| run(&mut cargo(&["build", "--release", "--config", FLAGS, "-p", package]));
    packages.iter().try_for_each(build)
}

/// Which form of an app to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Artifact {
    /// A release build of its sources.
    Sources,
    /// The images of its last `flash build`.
    Images,
}

/// An app on flash; `path` goes before the rest of `PATH`.
pub(super) async fn start_app(
    directory: &str,
    artifact: Artifact,
    options: &[&str],
    path: Option<&Path>,
) -> Result<Server, Failure> {
    let flash = release("flash");
    let mut flash = command(&flash.to_string_lossy(), &["run", directory]);
    if let Some(first) = path {
        let rest = std::env::var_os("PATH").unwrap_or_default();
        let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(&rest));
        flash.env("PATH", std::env::join_paths(all).map_err(Failure::at("PATH"))?);
    }
    flash.arg(match artifact {
        Artifact::Sources => "--release",
        Artifact::Images => "--image",
    });
    flash.args(["--no-reload", "--json", "--host", "127.0.0.1", "--port", "0", "--drain-seconds", "1"]);
    flash.args(options);
    Server::start(flash, START, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["event"] == "ready").then(|| event["url"].as_str().map(str::to_owned))?
    })
    .await
}

/// A hand-written service.
pub(super) async fn start_handwritten(arguments: &[&str]) -> Result<Server, Failure> {
    let program = release("bench-handwritten");
    let command = command(&program.to_string_lossy(), arguments);
    Server::start(command, START, |line| line.starts_with("http://").then(|| line.to_owned())).await
}
