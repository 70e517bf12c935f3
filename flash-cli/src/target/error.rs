//! What a target answers when it does not do what was asked.
use serde::{Deserialize, Serialize};

use crate::exit::{Code, Failure};

/// What a caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Problem {
    /// There is no such environment, release, worker type, key or secret.
    NotFound,
    /// There is one of this name already.
    Exists,
    /// The environment is no longer as the caller saw it, or is being changed by somebody else.
    Moved,
    /// What was asked makes no sense here.
    Refused,
    /// The release did not become ready; what was live still is.
    NotReady,
    /// The target cannot be reached, or broke off in the midst.
    Unreachable,
    /// It was tried and failed.
    Failed,
}

/// An error of a target: cause, what to do next, and the last lines of a worker where one is at fault.
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

    /// What to do next: a command where there is one.
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
