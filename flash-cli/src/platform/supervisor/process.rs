//! One worker process, from spawn to reaping.
use std::{
    fmt, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    path::PathBuf,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use super::{
    cgroup::MemoryKill,
    die_with_parent,
    isolation::Place,
    lifeline::Lifeline,
    output::{CurrentRequest, OnLine, Output},
    unix::enter_groups,
};

/// Lines of stderr in a report of a death, and characters of each.
const REPORTED_LINES: usize = 5;
const REPORTED_CHARS: usize = 200;

/// What to start.
pub(crate) struct Spec {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub directory: PathBuf,
    /// Set on top of this process's environment.
    pub environment: Vec<(String, String)>,
}

/// How long what is killed may take until its group can be removed; later, the lifeline does it.
const REMOVAL: Duration = Duration::from_millis(200);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Variables of ours and the provider's that a worker must not inherit from whoever started `flash`.
const OWN_PREFIXES: [&str; 2] = ["FLASH_", "RUNPOD_"];

fn is_own(variable: &str) -> bool {
    // The level of log lines is the one of them that a person sets by hand.
    variable != flash_sdk::env::RUNPOD_LOG_LEVEL && OWN_PREFIXES.iter().any(|own| variable.starts_with(own))
}

/// The program could not be started.
#[derive(Debug, thiserror::Error)]
#[error("could not start `{}`", program.display())]
pub(crate) struct SpawnError {
    program: PathBuf,
    source: io::Error,
}

/// How a process ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    status: ExitStatus,
    memory: Option<MemoryKill>,
    last_lines: Vec<String>,
}

impl Exit {
    /// As it prints, with more of its last words.
    pub(crate) fn report(&self) -> String {
        let mut words: Vec<String> = self
            .last_lines
            .iter()
            .rev()
            .filter(|line| !line.trim().is_empty())
            .take(REPORTED_LINES)
            .map(|line| line.chars().take(REPORTED_CHARS).collect())
            .collect();
        words.reverse();
        match words.is_empty() {
            true => self.to_string(),
            false => format!("{}; its last words: {}", Cause(self.status), words.join(" | ")),
        }
    }
}

/// Code or signal.
struct Cause(ExitStatus);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
            (None, None) => f.write_str("ended"),
        }
    }
}

impl fmt::Display for Exit {
    /// `killed by SIGKILL: over its memory of 2 GB` or `exit code 1`, then its last words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Cause(self.status))?;
        match self.memory {
            Some(reason) if self.status.signal() == Some(Signal::SIGKILL as i32) => write!(f, ": {reason}")?,
            // One that it started; what came of that is for the worker to know.
            Some(reason) => write!(f, " after one of its processes was killed: {reason}")?,
            None => {}
        }
        match self.last_lines.last() {
            Some(line) => write!(f, "; its last words: {line}"),
            None => Ok(()),
        }
    }
}

/// A running worker process, the leader of a process group of its own.
pub(crate) struct Process {
    child: Child,
    group: i32,
    place: Place,
    memory: Option<MemoryKill>,
    output: Arc<Output>,
    pump: tokio::task::JoinHandle<()>,
    lifeline: Lifeline,
}

impl Process {
    /// Starts it in its place, with its output going to `on_line`.
    pub(crate) fn spawn(
        spec: &Spec,
        place: Place,
        lifeline: &Lifeline,
        current_request: CurrentRequest,
        on_line: OnLine,
    ) -> Result<Self, SpawnError> {
        Self::try_spawn(spec, place, lifeline, current_request, on_line)
            .map_err(|source| SpawnError { program: spec.program.clone(), source })
    }

    fn try_spawn(
        spec: &Spec,
        place: Place,
        lifeline: &Lifeline,
        current_request: CurrentRequest,
        on_line: OnLine,
    ) -> io::Result<Self> {
        let (stdout, stdout_end) = io::pipe()?;
        let (stderr, stderr_end) = io::pipe()?;
        let mut command = Command::new(&spec.program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(is_own) {
                command.env_remove(name);
            }
        }
        command
            .args(&spec.arguments)
            .current_dir(&spec.directory)
            // The project's own settings win.
            .envs(place.environment.iter().map(|(name, value)| (name, value)))
            .envs(spec.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::from(OwnedFd::from(stdout_end)))
            .stderr(Stdio::from(OwnedFd::from(stderr_end)))
            .process_group(0);
        die_with_parent(&mut command);
        if let Some(group) = &place.group {
            enter_groups(&mut command, group.doors());
        }
        let child = command.spawn()?;
        // The command holds the writing ends; as long as it does, the pipes do not end.
        drop(command);
        let group = child.id().and_then(|id| i32::try_from(id).ok()).ok_or(io::ErrorKind::NotFound)?;
        lifeline.add(group);
        let output = Arc::new(Output::new(stdout.into(), stderr.into(), current_request, on_line)?);
        let pumped = output.clone();
        let pump = tokio::spawn(async move { pumped.pump().await });
        Ok(Self { child, group, place, memory: None, output, pump, lifeline: lifeline.clone() })
    }

    /// What it prints.
    pub(crate) fn output(&self) -> Arc<Output> {
        self.output.clone()
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Ends it, and whatever it started.
    pub(crate) fn kill(&self) {
        self.signal(Signal::SIGKILL);
        if let Some(group) = &self.place.group {
            group.kill();
        }
    }

    fn signal(&self, signal: Signal) {
        // Gone already: as good.
        let _ = killpg(Pid::from_raw(self.group), signal);
    }

    /// Waits for its end, reads what it said last, and kills what it left behind. May be asked again when the
    /// future was dropped.
    pub(crate) async fn wait(&mut self) -> io::Result<Exit> {
        let status = self.child.wait().await?;
        self.kill();
        self.lifeline.remove(self.group);
        // A process that escaped the group may hold the pipes open: the wait is bounded.
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut self.pump).await;
        self.pump.abort();
        // Kept: once the group is removed, nobody knows.
        self.memory = self.memory.or_else(|| self.place.group.as_ref()?.memory_kill());
        self.leave().await;
        Ok(Exit { status, memory: self.memory, last_lines: self.output.last_lines() })
    }

    /// Removes the control group, as soon as nothing runs in it any more.
    async fn leave(&self) {
        let Some(group) = &self.place.group else { return };
        let until = tokio::time::Instant::now() + REMOVAL;
        while !group.remove() && tokio::time::Instant::now() < until {
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}
