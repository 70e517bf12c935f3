//! Which lines of a log are asked for.
use std::{num::NonZeroUsize, str::FromStr};

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::line::LogStream;

/// The level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Every detail; the lowest level.
    Trace,
    /// Details for finding faults.
    Debug,
    /// Normal events; also lines without a level.
    Info,
    /// Possible problems; also lines of stderr without a level.
    Warn,
    /// Failures; also `critical` and `fatal` lines.
    Error,
}

/// Which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogQuery {
    /// Conditions that each line meets.
    pub select: Selected,
    /// How many existing lines come first.
    pub tail: Tail,
    /// Continues with new lines instead of ending.
    pub follow: bool,
}

/// The conditions on lines. All must hold; those not set are ignored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selected {
    /// A worker type, or the ID of one worker.
    pub worker: Option<String>,
    /// All hops of a request.
    pub request: Option<String>,
    /// The ID of a job: its lines, and its worker's other output for the same request.
    pub job: Option<String>,
    /// The number of a release; lines without one are left out.
    pub release: Option<u64>,
    /// Microseconds since 1970, inclusive.
    pub since_us: Option<u64>,
    /// Microseconds since 1970, exclusive.
    pub until_us: Option<u64>,
    /// A regular expression to search for in the text.
    pub search: Option<String>,
    /// This level or a higher one. Lines without one count as `info`, those of stderr as `warn`.
    pub level: Option<LogLevel>,
    /// Any when empty.
    pub streams: Vec<LogStream>,
}

/// How many of the existing lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tail {
    /// All that are still stored.
    #[default]
    All,
    /// The last ones.
    Last(NonZeroUsize),
    /// None: only new lines.
    Nothing,
}

/// An invalid search expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the search `{pattern}` is not a valid regular expression: {reason}{}", self.place())]
pub struct SearchError {
    /// The expression, as the user wrote it.
    pub pattern: String,
    /// What is wrong with it, in one line.
    pub reason: String,
    /// The position of the error in characters, from 1, if it has one.
    pub position: Option<usize>,
}

impl SearchError {
    fn place(&self) -> String {
        self.position.map_or(String::new(), |position| format!(" at character {position}"))
    }
}

/// Compiles [`Selected::search`]: checked in the same way before it is sent and where it is used.
///
/// # Errors
/// For an invalid regular expression, or one that would need too much memory.
pub fn compile_search(pattern: &str) -> Result<Regex, SearchError> {
    Regex::new(pattern).map_err(|error| {
        let said = error.to_string();
        // The library's message draws the pattern with a mark below it and gives the reason last.
        let mark = said.lines().find(|line| line.contains('^') && line.trim_matches([' ', '^']).is_empty());
        let position = mark.and_then(|line| (line.find('^')? + 1).checked_sub(DRAWN_INDENT));
        let last = said.lines().last().unwrap_or_default();
        let reason = last.strip_prefix("error: ").unwrap_or(last).to_owned();
        SearchError { pattern: pattern.to_owned(), reason, position }
    })
}

/// Precedes the pattern where an error draws it.
const DRAWN_INDENT: usize = 4;

impl FromStr for LogLevel {
    type Err = ();

    /// As written in lines: in any case, and `WARNING` for `WARN` too.
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
            "the search `ab(c` is not a valid regular expression: unclosed group at character 3"
        );
        let huge = compile_search("(?:a{1000}){1000}").unwrap_err();
        assert_eq!(huge.position, None);
        assert_eq!(huge.to_string().lines().count(), 1);
    }
}
