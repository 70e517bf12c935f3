//! Calls an engine and waits for its answer.
use std::{
    io,
    path::Path,
    process::{Output, Stdio},
    time::Duration,
};

use flash_process::parent_death::{self, OnParentDeath};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Command;

use super::{ContainerSpec, Engine, EngineError, Kind, call::describing};

/// How long an answer that needs no work may take.
pub(super) const QUESTION: Duration = Duration::from_secs(30);
/// How long reading an image may take: gigabytes from a slow disk.
pub(super) const IMPORT: Duration = Duration::from_secs(1800);
/// How long creating a container from an image, and its describing itself, may take: where layers cannot be
/// stacked, the engine copies the whole image.
const FIRST_START: Duration = Duration::from_secs(420);
/// How long a timed-out command may take to end once it is asked to.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// How often to try to remove a container.
const REMOVALS: u32 = 3;

/// The result of removing a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It existed until now.
    Now,
    /// It did not exist, or no longer exists.
    Before,
}

impl Engine {
    /// What it prints.
    pub(super) async fn ask(&self, arguments: &[String]) -> Result<String, EngineError> {
        self.ask_in(arguments, None, QUESTION).await
    }

    /// Like [`Engine::ask`], in a directory.
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
        // The first word after those that every call has.
        let subcommand = arguments.get(self.global_arguments.len()).cloned().unwrap_or_default();
        let what = format!("{} {subcommand}", self.program());
        answer(self.kind, command, &what, limit).await
    }

    /// Kills and removes a container, whatever state it is in.
    ///
    /// # Errors
    /// When it still exists after several tries.
    pub async fn remove_container(&self, name: &str) -> Result<Removed, EngineError> {
        let mut remove = self.remove();
        remove.push(name.to_owned());
        let mut tries = 0;
        loop {
            tries += 1;
            let failure = match self.ask(&remove).await {
                // The names of the removed containers.
                Ok(names) if names.trim().is_empty() => return Ok(Removed::Before),
                Ok(_) => return Ok(Removed::Now),
                Err(failure) => failure,
            };
            // A missing container is an error for docker; one that is being removed right now, for both.
            if self.ask(&self.find_container(name)).await.is_ok_and(|found| found.is_empty()) {
                return Ok(Removed::Before);
            }
            if tries == REMOVALS {
                return Err(failure);
            }
        }
    }

    /// Whether an ended container was killed for its memory use, as far as the engine knows.
    pub async fn was_killed_for_memory(&self, name: &str) -> bool {
        self.ask(&self.ask_for_memory_kill(name)).await.is_ok_and(|answer| answer.trim() == "true")
    }

    /// The first process of a running container, by its number on this machine; `None` if it does not run.
    pub async fn process_of_container(&self, name: &str) -> Option<i32> {
        let process = self.ask(&self.ask_for_process(name)).await.ok()?;
        // It is 0 for a container that has ended.
        process.trim().parse().ok().filter(|process| *process > 0)
    }

    /// Runs an image once, with the limits of a worker, to find out whether containers start at all.
    ///
    /// # Errors
    /// Why they do not.
    pub async fn try_out(&self, spec: ContainerSpec) -> Result<(), EngineError> {
        let name = spec.name.clone();
        let mut call = self.run(&ContainerSpec { environment: vec![describing()], ..spec })?;
        // If this is given up, the engine removes it by itself.
        call.arguments.insert(self.global_arguments.len() + 1, "--rm".to_owned());
        let mut command = Command::new(self.program());
        command.args(&call.arguments).envs(call.environment).stdin(Stdio::null());
        let tried = answer(self.kind, command, &format!("{} run", self.program()), FIRST_START).await;
        if tried.is_err() {
            // Its remains have the name that the next try needs. Report the first failure, not this one.
            let _ = self.remove_container(&name).await;
        }
        tried.map(drop)
    }
}

/// Asks a client to end when nobody waits for it any more: if it is killed while it creates a container, it leaves
/// a partial one.
struct Asked(Option<u32>);

impl Asked {
    fn signal(&self, signal: Signal) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            // It is already gone.
            let _ = kill(Pid::from_raw(id), signal);
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
    }
}

/// Runs a command of an engine to its end, with a time limit.
async fn answer(
    kind: Kind,
    mut command: Command,
    what: &str,
    limit: Duration,
) -> Result<String, EngineError> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // Ctrl-C is handled here and passed on.
    command.process_group(0);
    let started =
        parent_death::spawn(command, OnParentDeath::Terminate).await.map_err(|source| {
            match source.kind() {
                io::ErrorKind::NotFound => EngineError::Missing(kind),
                _ => EngineError::Start { kind, source },
            }
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

/// Its last line of output, else how it ended.
fn reason_of(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(
        || output.status.to_string(),
        |line| line.trim().trim_start_matches("Error: ").to_owned(),
    )
}
