//! A child process with its output, in its own process group.
//!
//! Shared by worker processes and clients of a container engine.
use std::{
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use flash_process::parent_death::{self, OnParentDeath};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use tokio::process::{Child as TokioChild, Command};

use super::output::{CurrentWork, OnLine, Output, PipedOutput};

/// How long the pipes may stay open after the end of the process: one that escaped may hold them.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// What to start.
pub(crate) struct Spec {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub directory: PathBuf,
    /// Set on top of this process's environment.
    pub environment: Vec<(String, String)>,
}

/// The program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("could not start `{}`", program.display())]
pub(crate) struct SpawnError {
    pub(super) program: PathBuf,
    pub(super) source: io::Error,
}

/// Variables of Flash and the provider that a worker must not inherit from the process that started `flash`.
const OWN_PREFIXES: [&str; 2] = ["FLASH_", "RUNPOD_"];

fn is_own(variable: &str) -> bool {
    // The log level is the only one of them that users set.
    variable != flash_protocol::variables::RUNPOD_LOG_LEVEL
        && OWN_PREFIXES.iter().any(|own| variable.starts_with(own))
}

/// See the module.
pub(super) struct Child {
    process: TokioChild,
    group: i32,
    output: Arc<PipedOutput>,
    pump: tokio::task::JoinHandle<()>,
}

impl Child {
    /// A command that runs the program in its directory, without the variables that are not for it.
    pub(super) fn command(program: &std::path::Path, arguments: &[String]) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_own) {
                command.env_remove(name);
            }
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Starts it, with its output going to `on_line`.
    pub(super) async fn spawn(
        mut command: Command,
        on_parent_death: OnParentDeath,
        current_work: CurrentWork,
        on_line: OnLine,
    ) -> io::Result<Self> {
        let (stdout, stdout_end) = io::pipe()?;
        let (stderr, stderr_end) = io::pipe()?;
        command
            .stdout(Stdio::from(OwnedFd::from(stdout_end)))
            .stderr(Stdio::from(OwnedFd::from(stderr_end)))
            .process_group(0);
        // Before the start: nothing that can fail comes after it, so no started process is ever lost.
        let (output, pump) = PipedOutput::new(stdout.into(), stderr.into(), current_work, on_line)?;
        // The command holds the writing ends: with it they are closed here, so that the pipes end with the process.
        let mut process = parent_death::spawn(command, on_parent_death).await?;
        let Some(group) = process.id().and_then(|id| i32::try_from(id).ok()) else {
            let _ = process.start_kill();
            return Err(io::ErrorKind::NotFound.into());
        };
        let pump = tokio::spawn(pump.run());
        Ok(Self { process, group, output, pump })
    }

    /// Its process group.
    pub(super) fn group(&self) -> i32 {
        self.group
    }

    /// Its output.
    pub(super) fn output(&self) -> Output {
        Output::Piped(self.output.clone())
    }

    /// To all of its group.
    pub(super) fn signal(&self, signal: Signal) {
        signal_group(self.group, signal);
    }

    /// Only to the process, not to its children.
    pub(super) fn signal_alone(&self, signal: Signal) {
        signal_process(self.group, signal);
    }

    /// Waits for its end. Can be called again.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Reads its last output: the lines of stderr that show why it ended.
    pub(super) async fn last_lines(&mut self) -> Vec<String> {
        if !self.pump.is_finished() {
            let _ = tokio::time::timeout(LAST_OUTPUT, &mut self.pump).await;
            self.pump.abort();
        }
        self.output.last_lines()
    }
}

/// Signals one process; it is fine if it no longer exists.
pub(super) fn signal_process(process: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(process), signal);
}

/// Signals a process group; it is fine if it no longer exists.
pub(super) fn signal_group(group: i32, signal: Signal) {
    let _ = killpg(Pid::from_raw(group), signal);
}
