//! The errors of targets.
use serde::{Deserialize, Serialize};

use crate::exit::{Code, Failure};

/// The kind of error, by what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Problem {
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
pub(crate) struct TargetError {
    pub problem: Problem,
    pub message: String,
    pub hint: Option<String>,
    #[serde(default)]
    pub last_lines: Vec<String>,
}

impl TargetError {
    /// An error without a hint.
    pub(crate) fn new(problem: Problem, message: impl Into<String>) -> Self {
        Self { problem, message: message.into(), hint: None, last_lines: Vec::new() }
    }

    /// What to do next, if possible a command.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        let TargetError { problem, message, hint, last_lines } = error;
        let code = match problem {
            Problem::NotFound | Problem::Exists | Problem::Refused => Code::Unusable,
            Problem::Moved | Problem::NotReady | Problem::Unreachable | Problem::Failed => Code::Failed,
        };
        let lines: String = last_lines.iter().map(|line| format!("\n  | {line}")).collect();
        let failure = match code {
            Code::Unusable => Self::unusable(message + &lines),
            _ => Self::failed(message + &lines),
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}
