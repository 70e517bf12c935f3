//! A line of a worker's log, as text and as JSON.
use flash_logs::LogLine;
use flash_target::{LogRecord, LogStream};
use serde::Serialize;

use super::colour::{DIM, RED, RESET};

/// What a log line is among the events of `--json`.
const EVENT: &str = "log";

/// A log line, from any source. Its members are those of its JSON, in this order.
#[derive(Serialize)]
pub(super) struct LogText<'a> {
    event: &'static str,
    time_ms: u64,
    release: Option<u64>,
    worker_type: &'a str,
    worker: Option<&'a str>,
    request_id: Option<&'a str>,
    job_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    span_id: Option<&'a str>,
    stream: LogStream,
    level: Option<&'a str>,
    text: &'a str,
}

impl<'a> From<&'a LogLine> for LogText<'a> {
    fn from(line: &'a LogLine) -> Self {
        let time = line.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self {
            event: EVENT,
            time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
            release: line.release,
            worker_type: &line.worker_type,
            worker: line.worker.as_deref(),
            request_id: line.request_id.as_deref(),
            job_id: line.job_id.as_deref(),
            trace_id: line.span.as_ref().map(|span| span.trace_id.as_str()),
            span_id: line.span.as_ref().map(|span| span.span_id.as_str()),
            stream: line.stream,
            level: line.level.as_deref(),
            text: &line.text,
        }
    }
}

impl<'a> From<&'a LogRecord> for LogText<'a> {
    fn from(record: &'a LogRecord) -> Self {
        Self {
            event: EVENT,
            time_ms: record.time_us / 1000,
            release: record.release,
            worker_type: &record.worker_type,
            worker: record.worker.as_deref(),
            request_id: record.request_id.as_deref(),
            job_id: record.job_id.as_deref(),
            trace_id: record.span.as_ref().map(|span| span.trace_id.as_str()),
            span_id: record.span.as_ref().map(|span| span.span_id.as_str()),
            stream: record.stream,
            level: record.level.as_deref(),
            text: &record.text,
        }
    }
}

impl LogText<'_> {
    /// For programs.
    pub(super) fn json(&self) -> String {
        // It consists of texts and numbers, so it has a JSON form.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The worker that printed it, or its type.
    pub(super) fn worker(&self) -> &str {
        self.worker.unwrap_or(self.worker_type)
    }

    /// For people, with the worker in a column of this width.
    pub(super) fn text(&self, width: usize, has_colour: bool) -> String {
        let worker = self.worker();
        let request = printable(self.request_id.unwrap_or("-"));
        let (dim, colour, reset) = match (has_colour, self.stream) {
            (false, _) => ("", "", ""),
            (true, LogStream::Stderr) => (DIM, RED, RESET),
            (true, LogStream::System) => (DIM, DIM, RESET),
            (true, LogStream::Stdout) => (DIM, "", RESET),
        };
        // The first characters of an ID made by Flash are enough to tell requests apart, and to select their lines.
        let request = short_id(&request);
        let level = self.level.map_or(String::new(), |level| printable(level) + " ");
        let text = printable(self.text);
        format!("{dim}{worker:<width$} {request:<8} |{reset} {colour}{level}{text}{reset}")
    }
}

/// The first characters of a random UUID. Other IDs as they are: they may share their beginnings, and time-ordered
/// ones do.
fn short_id(id: &str) -> &str {
    let is_random = uuid::Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 4);
    id.get(..8).filter(|_| is_random).unwrap_or(id)
}

/// A worker's text without anything that would move the cursor or end the line.
///
/// Colors are kept: `ESC [ … m`. Other sequences could clear the screen or write to the user's clipboard.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (at, char) in text.char_indices() {
        let is_colour = || {
            let rest = text[at + 1..].strip_prefix('[');
            rest.and_then(|rest| {
                rest.find(|char: char| !char.is_ascii_digit() && char != ';').map(|end| &rest[end..])
            })
            .is_some_and(|end| end.starts_with('m'))
        };
        let stays = !char.is_control() || char == '\t' || (char == '\u{1b}' && is_colour());
        shown.push(if stays { char } else { ' ' });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_workers_print_only_colours_reach_the_terminal() {
        assert_eq!(printable("\u{1b}[1;31mred\u{1b}[0m\tend"), "\u{1b}[1;31mred\u{1b}[0m\tend");
        assert_eq!(printable("\u{1b}[2Ja\u{1b}]52;c;eA==\u{7}b\rc\u{1b}"), " [2Ja ]52;c;eA== b c ");
    }

    #[test]
    fn ids_that_flash_made_are_shown_by_their_beginning_and_others_whole() {
        assert_eq!(short_id("c1b4a7d0-d2f0-4c0a-8000-000000000000"), "c1b4a7d0");
        for whole in ["-", "order-2026-000001", "0190b6c0-d2f0-7c0a-8000-000000000000", ""] {
            assert_eq!(short_id(whole), whole);
        }
    }
}
