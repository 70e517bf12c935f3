//! Exit codes. Public: scripts rely on them; `flash --help` lists them.
use std::{error::Error, fmt, process::ExitCode};

use flash_target::{Problem, TargetError};
use flash_text::error_chain;

/// How a command ended. Each way has an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// It is done, or there was nothing to do.
    Success,
    /// `flash deploy --plan`: something would change.
    Changes,
    /// It was tried and failed: the build, the app, a worker, a port.
    Failed,
    /// Wrong usage, no crate, an invalid `flash.toml`: nothing was tried.
    Unusable,
}

/// How a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureCode {
    /// [`Code::Failed`].
    Failed,
    /// [`Code::Unusable`].
    Unusable,
}

/// A command's error: the cause, then what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub code: FailureCode,
    message: String,
    hint: Option<String>,
    /// What was printed on the way, for those who do not see that.
    details: Option<String>,
}

impl Failure {
    /// Nothing was tried.
    pub(crate) fn unusable(message: impl Into<String>) -> Self {
        Self { code: FailureCode::Unusable, message: message.into(), hint: None, details: None }
    }

    /// It was tried and failed.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { code: FailureCode::Failed, message: message.into(), hint: None, details: None }
    }

    /// An error with its causes, and the exit code.
    pub(crate) fn of(code: FailureCode, error: &dyn Error) -> Self {
        Self { code, message: error_chain(error), hint: None, details: None }
    }

    /// Appends to its message.
    pub(crate) fn adding(mut self, more: &str) -> Self {
        self.message.push_str(more);
        self
    }

    /// What went wrong, without what to do next.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Sets what was printed on the way, which is not printed again.
    pub(crate) fn with_details(mut self, details: String) -> Self {
        self.details = Some(details).filter(|details| !details.trim().is_empty());
        self
    }

    /// The whole of it for a reader elsewhere: what was printed on the way, then the message and what to do next.
    pub(crate) fn whole(&self) -> String {
        match &self.details {
            Some(details) => format!("{}\n\n{self}", details.trim_end()),
            None => self.to_string(),
        }
    }

    /// What to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds another thing to do next, after what is there.
    pub(crate) fn also(self, hint: &str) -> Self {
        let hint = self.hint.as_deref().map_or_else(|| hint.to_owned(), |first| format!("{first}; {hint}"));
        self.hint(hint)
    }
}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Self {
        let code = match error.problem {
            Problem::NoEnvironment
            | Problem::NothingLive
            | Problem::NotFound
            | Problem::Exists
            | Problem::Refused => FailureCode::Unusable,
            Problem::Moved | Problem::NotReady | Problem::Unreachable | Problem::Failed => {
                FailureCode::Failed
            }
        };
        let lines: String = error.last_lines.iter().map(|line| format!("\n  | {line}")).collect();
        Self { code, message: error.text() + &lines, hint: error.hint, details: None }
    }
}

impl fmt::Display for Failure {
    /// The message, and a second line with what to do next.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl From<FailureCode> for Code {
    fn from(code: FailureCode) -> Self {
        match code {
            FailureCode::Failed => Self::Failed,
            FailureCode::Unusable => Self::Unusable,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(match code {
            Code::Success => 0,
            Code::Failed => 1,
            Code::Unusable | Code::Changes => 2,
        })
    }
}
