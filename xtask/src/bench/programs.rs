//! The programs of the benchmark: built with optimisations, started on free ports.
use std::{os::unix::process::CommandExt as _, path::PathBuf, time::Duration};

use serde_json::Value;

use super::server::Server;
use crate::{
    command::{cargo, command, run},
    failure::Failure,
    workspace,
};

/// Includes a build of the app that has nothing left to do.
const START: Duration = Duration::from_secs(120);

fn release(program: &str) -> PathBuf {
    workspace::target().join("release").join(program)
}

/// Goes on as the release build of this program; returns only when that fails.
pub(super) fn become_release_build() -> Failure {
    if let Err(failure) = run(&mut cargo(&["build", "--release", "-p", "xtask"])) {
        return failure;
    }
    let program = release("xtask");
    let error = command(&program.to_string_lossy(), &[]).args(std::env::args_os().skip(1)).exec();
    Failure::new(format!("{} cannot be started: {error}", program.display()))
}

/// Builds all but this program.
pub(super) fn build() -> Result<(), Failure> {
    // One by one, as `flash run` builds an app: what is built here is then not built again there.
    ["flash-cli", "bench-handwritten", "bench-pipeline"]
        .iter()
        .try_for_each(|package| run(&mut cargo(&["build", "--release", "-p", package])))
}

/// The app on flash.
pub(super) async fn start_app() -> Result<Server, Failure> {
    let flash = release("flash");
    let mut flash = command(&flash.to_string_lossy(), &["run", "xtask/bench/pipeline"]);
    flash.args([
        "--release",
        "--no-reload",
        "--json",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--drain-seconds",
        "1",
    ]);
    Server::start(flash, START, |line| {
        let event: Value = serde_json::from_str(line).ok()?;
        (event["event"] == "ready").then(|| event["url"].as_str().map(str::to_owned))?
    })
    .await
}

/// A service written by hand.
pub(super) async fn start_handwritten(arguments: &[&str]) -> Result<Server, Failure> {
    let program = release("bench-handwritten");
    let command = command(&program.to_string_lossy(), arguments);
    Server::start(command, START, |line| line.starts_with("http://").then(|| line.to_owned())).await
}
