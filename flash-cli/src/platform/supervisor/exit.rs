//! How a worker ended, as it is told.
use std::{fmt, os::unix::process::ExitStatusExt as _, process::ExitStatus};

use nix::sys::signal::Signal;

use super::cgroup::MemoryKill;

/// Lines of stderr in a report of a death, and characters of each.
const REPORTED_LINES: usize = 5;
const REPORTED_CHARS: usize = 200;

/// How a worker ended.
#[derive(Debug, Clone)]
pub(crate) struct Exit {
    pub(super) status: ExitStatus,
    pub(super) memory: Option<MemoryKill>,
    pub(super) last_lines: Vec<String>,
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
