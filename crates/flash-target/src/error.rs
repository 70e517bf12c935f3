//! The errors of targets.
use serde::{Deserialize, Serialize};

use flash_logs::SearchError;

/// The kind of error, by what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// No such environment, release, worker type, key or secret.
    NotFound,
    /// The name is already in use.
    Exists,
    /// The environment has changed since the caller looked, or somebody else is changing it.
    Moved,
    /// The request makes no sense here.
    Refused,
    /// The release did not become ready; the live release is unchanged.
    NotReady,
    /// The target cannot be reached, or the connection broke.
    Unreachable,
    /// It was tried and failed.
    Failed,
}

/// An error of a target: cause, what to do next, and a worker's last lines if it caused the error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct TargetError {
    /// What a caller can do about it.
    pub problem: Problem,
    /// What went wrong, for people.
    pub message: String,
    /// What to do next, if possible a command.
    pub hint: Option<String>,
    /// The last lines of the worker or service that caused it, oldest first; else empty.
    #[serde(default)]
    pub last_lines: Vec<String>,
}

impl TargetError {
    /// An error without a hint.
    pub fn new(problem: Problem, message: impl Into<String>) -> Self {
        Self { problem, message: message.into(), hint: None, last_lines: Vec::new() }
    }

    /// What to do next, if possible a command.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<SearchError> for TargetError {
    fn from(error: SearchError) -> Self {
        Self::new(Problem::Refused, error.to_string()).hint("put \\ before a character to match it literally")
    }
}
