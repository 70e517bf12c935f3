//! Calls an engine and waits for its answer.
use std::{
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Command;

use super::{ContainerSpec, Engine, Kind, call::describing};
use crate::{
    image::LayoutError,
    orphan::{self, WithParent},
};

/// How long an answer may take that needs no work.
pub(super) const QUESTION: Duration = Duration::from_secs(30);
/// How long an image may take to be read: gigabytes from a slow disk.
pub(super) const IMPORT: Duration = Duration::from_secs(1800);
/// How long a container may take to be made from an image, and to describe itself: where layers cannot be
/// stacked, the engine copies all of the image.
const FIRST_START: Duration = Duration::from_secs(420);
/// How long a command that gave no answer in time may take to end once it is asked to.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// How often the removal of a container is tried.
const REMOVALS: u32 = 3;

/// What an engine did not do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    #[error("no container engine is installed: neither `podman` nor `docker` is found")]
    None,
    #[error("`{}` is not installed", .0.name())]
    Missing(Kind),
    #[error("could not start `{}`", kind.name())]
    Start { kind: Kind, source: io::Error },
    #[error("`{what}` failed: {reason}")]
    Failed { what: String, reason: String },
    #[error("`{what}` gave no answer within {} s", limit.as_secs())]
    Late { what: String, limit: Duration },
    #[error("`{0}` cannot be understood")]
    Unreadable(String, #[source] serde_json::Error),
    #[error("podman {0} is too old: 4.0 or newer is needed")]
    Old(String),
    #[error("{0}, so they do not reach the platform on this machine's loopback address")]
    Elsewhere(&'static str),
    #[error("the variable `{name}` has a value of several lines, which {engine} cannot hand to a container")]
    ManyLines { name: String, engine: &'static str },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("the image cannot be packed for the engine")]
    Archive(#[source] io::Error),
    #[error("the image of `{worker}` is not the one that was built: {} lacks {digest}", layout.display())]
    Changed { worker: String, digest: String, layout: PathBuf },
    #[error("{engine} made another image of `{worker}` than was built: {wanted} is expected")]
    Different { engine: &'static str, worker: String, wanted: String },
}

/// What became of a container that is to be removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    Now,
    /// It was not there, or not any more.
    Before,
}

impl Engine {
    /// What it prints.
    pub(super) async fn ask(&self, arguments: &[String]) -> Result<String, EngineError> {
        self.ask_in(arguments, None, QUESTION).await
    }

    /// As [`Engine::ask`], in a directory.
    pub(super) async fn ask_in(
        &self,
        arguments: &[String],
        directory: Option<&Path>,
        limit: Duration,
    ) -> Result<String, EngineError> {
        let mut command = Command::new(self.program());
        command.args(arguments).stdin(Stdio::null());
        if let Some(directory) = directory {
            command.current_dir(directory);
        }
        // The first word after those that are the same in every call.
        let subcommand = arguments.get(self.global_arguments.len()).cloned().unwrap_or_default();
        let what = format!("{} {subcommand}", self.program());
        answer(self.kind, command, &what, limit).await
    }

    /// Kills and removes a container, whatever state it is in.
    ///
    /// # Errors
    /// When it is still there after several tries.
    pub(crate) async fn remove_container(&self, name: &str) -> Result<Removed, EngineError> {
        let mut remove = self.remove();
        remove.push(name.to_owned());
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = match self.ask(&remove).await {
                // The names of those that it has removed.
                Ok(names) if names.trim().is_empty() => return Ok(Removed::Before),
                Ok(_) => return Ok(Removed::Now),
                Err(failure) => failure,
            };
            // One that is not there is an error to docker; one that somebody removes in this moment, to both.
            if self.ask(&self.find_container(name)).await.is_ok_and(|found| found.is_empty()) {
                return Ok(Removed::Before);
            }
            if tries == REMOVALS {
                return Err(failure);
            }
        }
    }

    /// Whether a container that has ended was killed for its memory, as far as the engine knows.
    pub(crate) async fn was_killed_for_memory(&self, name: &str) -> bool {
        self.ask(&self.ask_for_memory_kill(name)).await.is_ok_and(|answer| answer.trim() == "true")
    }

    /// Runs an image once, with the limits of a worker, to find out whether containers start at all.
    ///
    /// # Errors
    /// Why they do not.
    pub(crate) async fn try_out(&self, spec: ContainerSpec) -> Result<(), EngineError> {
        let name = spec.name.clone();
        let mut call = self.run(&ContainerSpec { environment: vec![describing()], ..spec })?;
        // Should it have to be given up on the way, the engine removes it by itself.
        call.arguments.insert(self.global_arguments.len() + 1, "--rm".to_owned());
        let mut command = Command::new(self.program());
        command.args(&call.arguments).envs(call.environment).stdin(Stdio::null());
        let tried = answer(self.kind, command, &format!("{} run", self.program()), FIRST_START).await;
        if tried.is_err() {
            // What is left of it has the name that the next try needs. The failure is told, not this one.
            let _ = self.remove_container(&name).await;
        }
        tried.map(drop)
    }
}

/// Asks a client to end when nobody waits for it any more: one that is killed while it makes a container
/// leaves half of it behind.
struct Asked(Option<u32>);

impl Asked {
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            // Gone already: as good.
            let _ = kill(Pid::from_raw(id), signal);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
    }
}

/// Runs a command of an engine to its end, for a bounded time.
async fn answer(
    kind: Kind,
    mut command: Command,
    what: &str,
    limit: Duration,
) -> Result<String, EngineError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is for us to pass on.
    command.process_group(0);
    let started =
        orphan::spawn(command, WithParent::IsAskedToEnd).await.map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => EngineError::Missing(kind),
            _ => EngineError::Start { kind, source },
        })?;
    let mut asked = Asked(started.id());
    let output = started.wait_with_output();
    tokio::pin!(output);
    let Ok(output) = tokio::time::timeout(limit, &mut output).await else {
        asked.signal(Signal::SIGTERM);
        if tokio::time::timeout(GIVEN_UP, output).await.is_err() {
            asked.signal(Signal::SIGKILL);
        }
        asked.0 = None;
        return Err(EngineError::Late { what: what.to_owned(), limit });
    };
    let output = output.map_err(|source| EngineError::Start { kind, source })?;
    asked.0 = None;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(EngineError::Failed { what: what.to_owned(), reason: reason_of(&output) })
}

/// The last thing it said, else how it ended.
fn reason_of(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(
        || output.status.to_string(),
        |line| line.trim().trim_start_matches("Error: ").to_owned(),
    )
}
