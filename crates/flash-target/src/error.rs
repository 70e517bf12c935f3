//! The errors of targets.
//!
//! An error says its kind ([`Problem`], what a caller decides on), what failed, why (its sources), how the environment
//! is now, and what to do next. It may come from another process: then its sources are texts.
use std::{error::Error, fmt};

use serde::{Deserialize, Serialize};

use flash_logs::SearchError;
use flash_text::error_chain;

use crate::cause::Cause;

/// The kind of error, by what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// There is no such environment.
    NoEnvironment,
    /// No release is live in the environment.
    NothingLive,
    /// There is no such release, worker type, schedule, key or secret.
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

/// An error of a target.
///
/// `Display` is [`message`](Self::message) alone, as is customary for errors with a `source()`;
/// [`text`](Self::text) is what people should read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetError {
    /// What a caller can do about it.
    pub problem: Problem,
    /// What went wrong, for people; not why.
    pub message: String,
    /// Why: `source()`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<Cause>,
    /// How the environment is now, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    /// What to do next, if possible a command.
    pub hint: Option<String>,
    /// The last lines of the worker or service that caused it, oldest first; else empty.
    #[serde(default)]
    pub last_lines: Vec<String>,
}

impl TargetError {
    /// An error without a source or hint.
    pub fn new(problem: Problem, message: impl Into<String>) -> Self {
        Self {
            problem,
            message: message.into(),
            source: None,
            state: None,
            hint: None,
            last_lines: Vec::new(),
        }
    }

    /// This error, with its sources and without a hint.
    pub fn of(problem: Problem, error: impl Error + Send + Sync + 'static) -> Self {
        let target = Self::new(problem, error.to_string());
        Self { source: Cause::sources_of(error), ..target }
    }

    /// Why: the error's `source()`.
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(Cause::of(source.into()));
        self
    }

    /// What to do next, if possible a command.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The last lines of the worker or service that caused it, oldest first.
    pub fn last_lines(mut self, lines: Vec<String>) -> Self {
        self.last_lines = lines;
        self
    }

    /// How the environment is now, after what was said before.
    pub fn leaving(mut self, state: impl AsRef<str>) -> Self {
        let state = state.as_ref();
        self.state = Some(match self.state {
            Some(before) => format!("{before}; {state}"),
            None => state.to_owned(),
        });
        self
    }

    /// The same problem as the cause of a larger one, which `message` names. The hint stays.
    pub fn within(mut self, message: impl Into<String>) -> Self {
        let larger = Self {
            problem: self.problem,
            message: message.into(),
            source: None,
            state: self.state.take(),
            hint: self.hint.take(),
            last_lines: std::mem::take(&mut self.last_lines),
        };
        larger.because(self)
    }

    /// What failed, why, and how the environment is now, on one line; without what to do next.
    pub fn text(&self) -> String {
        let chain = error_chain(self);
        match &self.state {
            Some(state) => format!("{chain}; {state}"),
            None => chain,
        }
    }
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for TargetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().and_then(Cause::error)
    }
}

impl From<SearchError> for TargetError {
    fn from(error: SearchError) -> Self {
        Self::new(Problem::Refused, error.to_string()).hint("put \\ before a character to match it literally")
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn full() -> TargetError {
        TargetError::new(Problem::Failed, "cannot write /a").because(io::Error::from_raw_os_error(28))
    }

    #[test]
    fn a_source_can_be_found_by_its_type_as_long_as_the_error_stays_in_the_process() {
        let error = full().within("release 3 is not live");
        let inner = error.source().and_then(|inner| inner.downcast_ref::<TargetError>()).unwrap();
        let source = inner.source().and_then(|source| source.downcast_ref::<io::Error>()).unwrap();
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn an_error_of_ours_is_told_once_and_its_sources_stay() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open it")]
        struct Unopened(#[source] io::Error);

        let error = TargetError::of(Problem::Failed, Unopened(io::Error::from_raw_os_error(2)));
        assert!(error.text().starts_with("cannot open it: No such file"), "{}", error.text());
        assert!(error.source().is_some_and(|source| source.is::<io::Error>()));
        assert!(TargetError::of(Problem::Failed, full()).source().is_some());
        assert!(TargetError::of(Problem::Failed, TargetError::new(Problem::Moved, "it")).source().is_none());
    }

    #[test]
    fn a_result_with_an_error_is_not_large() {
        assert!(size_of::<TargetError>() < 128, "{}", size_of::<TargetError>());
    }

    #[test]
    fn an_error_keeps_its_text_and_the_number_of_its_sources_on_its_way_through_json() {
        let error =
            full().hint("free space").leaving("release 2 keeps serving").within("release 3 is not live");
        let error = error.leaving("nothing was changed");
        let there: TargetError = serde_json::from_str(&serde_json::to_string(&error).unwrap()).unwrap();
        assert_eq!(there, error);
        for error in [&error, &there] {
            let text = error.text();
            assert!(text.starts_with("release 3 is not live: cannot write /a: "), "{text}");
            assert!(text.ends_with("; release 2 keeps serving; nothing was changed"), "{text}");
            assert_eq!(error.to_string(), "release 3 is not live");
            assert_eq!(error.hint.as_deref(), Some("free space"));
            assert!(error.source().and_then(Error::source).is_some_and(|last| last.source().is_none()));
        }
    }
}
