//! Lines of a log, and which of them are asked for.
use std::{fmt, num::NonZeroUsize, str::FromStr};

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{Problem, TargetError};

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogStream {
    Stdout,
    Stderr,
    /// The platform itself.
    System,
}

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// One line, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    /// Microseconds since 1970.
    pub time_us: u64,
    pub release: Option<u64>,
    pub worker_type: String,
    pub worker: Option<String>,
    pub request_id: Option<String>,
    pub job_id: Option<String>,
    pub stream: LogStream,
    /// As the line says it itself.
    pub level: Option<String>,
    pub text: String,
}

/// Which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogQuery {
    pub select: Selected,
    pub tail: Tail,
    /// Goes on with lines as they come, instead of ending.
    pub follow: bool,
}

/// What lines must be like. All of it must be so; what is not said is not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Selected {
    /// A worker type, or the id of one worker.
    pub worker: Option<String>,
    /// All hops of a request.
    pub request: Option<String>,
    pub job: Option<String>,
    pub release: Option<u64>,
    /// Microseconds since 1970, included.
    pub since_us: Option<u64>,
    /// Microseconds since 1970, not included.
    pub until_us: Option<u64>,
    /// A regular expression in the text.
    pub search: Option<String>,
    /// This level or a higher one. Lines without one count as `info`, those of stderr as `warn`.
    pub level: Option<LogLevel>,
    /// Any when empty.
    pub streams: Vec<LogStream>,
}

/// How many lines of those that are there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tail {
    #[default]
    All,
    /// The last ones.
    Last(NonZeroUsize),
    /// None: only what comes.
    Nothing,
}

/// A search that is no regular expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the search `{pattern}` is no regular expression: {reason}{}", self.place())]
pub(crate) struct SearchError {
    pub pattern: String,
    pub reason: String,
    /// The character where it goes wrong, from 1 on, where one is to blame.
    pub position: Option<usize>,
}

impl SearchError {
    fn place(&self) -> String {
        self.position.map_or(String::new(), |position| format!(" at character {position}"))
    }
}

impl From<SearchError> for TargetError {
    fn from(error: SearchError) -> Self {
        Self::new(Problem::Refused, error.to_string()).hint("put \\ before a sign that is meant as it is")
    }
}

/// What [`Selected::search`] means: checked the same way before it is asked and where it is used.
///
/// # Errors
/// When it is no regular expression, or one that would need too much memory.
pub(crate) fn compile_search(pattern: &str) -> Result<Regex, SearchError> {
    Regex::new(pattern).map_err(|error| {
        let said = error.to_string();
        // The library draws the pattern with a mark below it and says the reason last.
        let mark = said.lines().find(|line| line.contains('^') && line.trim_matches([' ', '^']).is_empty());
        let position = mark.and_then(|line| (line.find('^')? + 1).checked_sub(DRAWN_INDENT));
        let last = said.lines().last().unwrap_or_default();
        let reason = last.strip_prefix("error: ").unwrap_or(last).to_owned();
        SearchError { pattern: pattern.to_owned(), reason, position }
    })
}

/// Before the pattern where an error draws it.
const DRAWN_INDENT: usize = 4;

impl FromStr for LogLevel {
    type Err = ();

    /// As lines say it: in any case, `WARNING` for `WARN` too.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text.to_ascii_lowercase().as_str() {
            "trace" => Ok(Self::Trace),
            "debug" => Ok(Self::Debug),
            "info" => Ok(Self::Info),
            "warn" | "warning" => Ok(Self::Warn),
            "error" | "critical" | "fatal" => Ok(Self::Error),
            _ => Err(()),
        }
    }
}

impl fmt::Display for LogStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::System => "system",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_search_is_refused_with_the_reason_and_the_place() {
        assert!(compile_search("time(d )?out").is_ok());
        let error = compile_search("ab(c").unwrap_err();
        assert_eq!(error.position, Some(3));
        assert_eq!(
            error.to_string(),
            "the search `ab(c` is no regular expression: unclosed group at character 3"
        );
        let huge = compile_search("(?:a{1000}){1000}").unwrap_err();
        assert_eq!(huge.position, None);
        assert_eq!(huge.to_string().lines().count(), 1);
    }
}
