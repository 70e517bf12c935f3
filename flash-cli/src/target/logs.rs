//! Lines of a log, and which of them are asked for.
use std::{fmt, num::NonZeroUsize, str::FromStr};

use serde::{Deserialize, Serialize};

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
