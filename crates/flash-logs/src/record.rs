//! A line as stored in a segment, and its form there.
use std::{borrow::Cow, io::Write as _, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::line::{LogLine, LogStream, SpanIds};

/// One line, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRecord {
    /// Microseconds since 1970.
    pub time_us: u64,
    /// The release of its worker; `None` if there is none, or if it is not known.
    pub release: Option<u64>,
    /// The worker type it is about; for other lines of the platform, `platform` or `webhook`.
    pub worker_type: String,
    /// The ID of the worker it is about; `None` if it is about none in particular.
    pub worker: Option<String>,
    /// The request it belongs to, if known.
    pub request_id: Option<String>,
    /// The job it belongs to, where that is certain.
    pub job_id: Option<String>,
    /// The span that it was written in, if there are traces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<SpanIds>,
    /// Where it comes from.
    pub stream: LogStream,
    /// As the line itself says.
    pub level: Option<String>,
    /// The message of a structured line, else the line as printed.
    pub text: String,
}

/// [`LogRecord`] without copies, for writing lines and for checking them in queries.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record<'a> {
    pub time_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<u64>,
    #[serde(borrow)]
    pub worker_type: Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Cow<'a, SpanIds>>,
    pub stream: LogStream,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub text: Cow<'a, str>,
}

impl<'a> Record<'a> {
    /// A line in transit.
    pub(super) fn of(line: &'a LogLine) -> Self {
        Self {
            time_us: micros(line.time),
            release: line.release,
            worker_type: line.worker_type.as_str().into(),
            worker: line.worker.as_deref().map(Cow::from),
            request_id: line.request_id.as_deref().map(Cow::from),
            job_id: line.job_id.as_deref().map(Cow::from),
            span: line.span.as_ref().map(Cow::Borrowed),
            stream: line.stream,
            level: line.level.as_deref().map(Cow::from),
            text: line.text.as_str().into(),
        }
    }

    /// A borrowed line.
    pub(super) fn borrowing(line: &'a LogRecord) -> Self {
        Self {
            time_us: line.time_us,
            release: line.release,
            worker_type: line.worker_type.as_str().into(),
            worker: line.worker.as_deref().map(Cow::from),
            request_id: line.request_id.as_deref().map(Cow::from),
            job_id: line.job_id.as_deref().map(Cow::from),
            span: line.span.as_ref().map(Cow::Borrowed),
            stream: line.stream,
            level: line.level.as_deref().map(Cow::from),
            text: line.text.as_str().into(),
        }
    }

    /// Reads it back; `None` for what no store has written.
    pub(super) fn parse(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// Appends it, with the end of its line.
    pub(super) fn write(&self, to: &mut Vec<u8>) {
        // Writing to memory cannot fail, and strings and numbers can be written as JSON. JSON has no line breaks.
        let _ = serde_json::to_writer(&mut *to, self);
        let _ = to.write_all(b"\n");
    }

    /// An owned copy.
    pub(super) fn into_owned(self) -> LogRecord {
        LogRecord {
            time_us: self.time_us,
            release: self.release,
            worker_type: self.worker_type.into_owned(),
            worker: self.worker.map(Cow::into_owned),
            request_id: self.request_id.map(Cow::into_owned),
            job_id: self.job_id.map(Cow::into_owned),
            span: self.span.map(Cow::into_owned),
            stream: self.stream,
            level: self.level.map(Cow::into_owned),
            text: self.text.into_owned(),
        }
    }
}

/// Microseconds since 1970.
pub(super) fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("log_record", |data| {
    let Some(record) = Record::parse(data) else { return };
    let mut written = Vec::new();
    record.write(&mut written);
    assert_eq!(written.iter().filter(|byte| **byte == b'\n').count(), 1, "one record, one line");
    let again = Record::parse(&written).expect("what was written is read");
    let mut twice = Vec::new();
    again.write(&mut twice);
    assert_eq!(twice, written);
});
