//! How a worker ended, for messages.
use std::{fmt, os::unix::process::ExitStatusExt as _, process::ExitStatus};

use nix::sys::signal::Signal;

use super::cgroup::MemoryKill;

/// Lines of stderr in a report of a death, and characters of each.
const REPORTED_LINES: usize = 5;
const REPORTED_CHARS: usize = 200;
/// An exit code above it is the number of a signal that killed the first process.
const SIGNALLED: i32 = 128;

/// How a worker ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub(super) status: ExitStatus,
    pub(super) memory: Option<MemoryKill>,
    /// What else is known of the cause, for people.
    pub(super) reason: Option<String>,
    pub(super) last_lines: Vec<String>,
}

impl Exit {
    /// The cause without its last output: `killed by SIGKILL: over its memory of 2 GB`.
    pub(crate) fn cause(&self) -> String {
        let cause = Cause(self.status);
        match self.memory {
            Some(reason) if self.status.signal() == Some(Signal::SIGKILL as i32) => {
                format!("{cause}: {reason}")
            }
            // A process that the worker started; only the worker knows the effect.
            Some(reason) => format!("{cause} after one of its processes was killed: {reason}"),
            None => match &self.reason {
                Some(reason) => format!("{cause}: {reason}"),
                None => cause.to_string(),
            },
        }
    }

    /// Whether it ended by itself, with exit code 0.
    pub(crate) fn is_success(&self) -> bool {
        self.status.success()
    }

    /// The last lines of its stderr, oldest first.
    pub(crate) fn last_lines(&self) -> &[String] {
        &self.last_lines
    }

    /// Like `Display`, with more of its last output.
    pub(crate) fn report(&self) -> String {
        format!("{}{}", self.cause(), last_output(&self.last_lines))
    }
}

/// The last non-empty lines, for the end of a report.
pub(crate) fn last_output(lines: &[String]) -> String {
    let mut words: Vec<String> = lines
        .iter()
        .rev()
        .filter(|line| !line.trim().is_empty())
        .take(REPORTED_LINES)
        .map(|line| line.chars().take(REPORTED_CHARS).collect())
        .collect();
    words.reverse();
    match words.is_empty() {
        true => String::new(),
        false => format!("; last output: {}", words.join(" | ")),
    }
}

/// Code or signal.
struct Cause(ExitStatus);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.code(), self.0.signal()) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => match Signal::try_from(signal) {
                // It is not the app's mistake, and nothing it printed says so.
                Ok(Signal::SIGILL) => f.write_str(
                    "killed by SIGILL: it uses instructions that this machine's processor does not have; set a lower \
                     `target_cpu` under `[build]` in flash.toml, such as \"x86-64\"",
                ),
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {signal}"),
            },
            (None, None) => f.write_str("ended"),
        }
    }
}

impl fmt::Display for Exit {
    /// `killed by SIGKILL: over its memory of 2 GB` or `exit code 1`, then its last line of output.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause())?;
        match self.last_lines.last() {
            Some(line) => write!(f, "; last output: {line}"),
            None => Ok(()),
        }
    }
}

/// The exit status of a container's first process. Engines and nodes report a signal as 128 plus its number.
pub(super) fn signalled(status: ExitStatus) -> ExitStatus {
    match status.code() {
        Some(code @ 129..=192) => ExitStatus::from_raw(code - SIGNALLED),
        _ => status,
    }
}
