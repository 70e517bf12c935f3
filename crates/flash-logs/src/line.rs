//! A line on its way to the log.
use std::{fmt, sync::Arc, time::SystemTime};

use serde::{Deserialize, Serialize};

/// Where a line comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogStream {
    /// A worker's standard output; on Runpod, all of its output.
    Stdout,
    /// A worker's standard error.
    Stderr,
    /// The platform itself.
    System,
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

/// The span that a line was written in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpanIds {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
}

/// One line.
#[derive(Debug, Clone)]
pub struct LogLine {
    /// When it was read from the worker, or written by the platform.
    pub time: SystemTime,
    /// Who wrote it.
    pub stream: LogStream,
    /// The level, if the line has one.
    pub level: Option<String>,
    /// The release of its worker; `None` for lines of the platform.
    pub release: Option<u64>,
    /// The worker type it is about; for other lines of the platform, `platform` or `webhook`.
    pub worker_type: String,
    /// The worker it is about; `None` if it is about none in particular.
    pub worker: Option<Arc<str>>,
    /// The request it belongs to, if known.
    pub request_id: Option<String>,
    /// The job, where it is certain.
    pub job_id: Option<String>,
    /// The span, if there are traces and the line is of one.
    pub span: Option<SpanIds>,
    /// The message of a structured line, else the line as printed.
    pub text: String,
}

/// Takes lines. Called from many tasks; must not block for long.
pub type Sink = Arc<dyn Fn(LogLine) + Send + Sync>;

/// Like `sink`, but sets the release of each line.
pub fn of_release(sink: Sink, release: u64) -> Sink {
    Arc::new(move |line| sink(LogLine { release: Some(release), ..line }))
}

impl LogLine {
    /// A line of the platform about a worker type.
    pub fn system(worker_type: &str, worker: Option<&Arc<str>>, text: String) -> Self {
        Self {
            time: SystemTime::now(),
            stream: LogStream::System,
            level: None,
            release: None,
            worker_type: worker_type.to_owned(),
            worker: worker.cloned(),
            request_id: None,
            job_id: None,
            span: None,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_puts_its_number_on_each_line() {
        let (sender, lines) = std::sync::mpsc::channel();
        let sink = of_release(Arc::new(move |line| sender.send(line).unwrap()), 7);
        sink(LogLine::system("gpu", None, "started".into()));
        assert_eq!(lines.recv().unwrap().release, Some(7));
    }
}
