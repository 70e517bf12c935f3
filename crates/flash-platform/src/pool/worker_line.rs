//! Makes log lines of what workers print: reads the lines of our SDK and of the official worker, and finds out which
//! job or request a line belongs to.
use std::time::SystemTime;

use flash_logs::{LogLine, LogStream, SpanIds};
use flash_protocol::wire::identity::{RequestId, TraceParent};
use serde::Deserialize;

use crate::{
    supervisor::{Line, Source, Work},
    worker_id::WorkerId,
};

/// A line as our SDK and the official worker print it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Structured {
    request_id: Option<String>,
    message: String,
    level: String,
    #[serde(rename = "trace_id")]
    trace: Option<String>,
    #[serde(rename = "span_id")]
    span: Option<String>,
}

/// A line printed by a worker.
pub(super) fn line_of_worker(worker_type: &str, worker: &WorkerId, line: Line) -> LogLine {
    let Line { source, text, work } = line;
    let stream = match source {
        Source::Stdout => LogStream::Stdout,
        Source::Stderr => LogStream::Stderr,
    };
    let structured =
        text.starts_with("{\"requestId\"").then(|| serde_json::from_str::<Structured>(&text).ok());
    let (own_request, span, level, text) = match structured.flatten() {
        Some(line) => {
            let request_id = line.request_id.filter(|id| RequestId::parse(id).is_some());
            (request_id, span_of(line.trace, line.span), Some(line.level), line.message)
        }
        None => (None, None, None, text),
    };
    // A line with another request ID belongs to another job too.
    let is_its_work = |work: &Work| own_request.as_ref().is_none_or(|own| *own == work.request_id);
    let work = work.filter(is_its_work);
    let job_id = work.as_ref().and_then(|work| work.job_id.clone());
    let request_id = own_request.or(work.map(|work| work.request_id));
    LogLine {
        time: SystemTime::now(),
        stream,
        level,
        release: None,
        worker_type: worker_type.to_owned(),
        worker: Some(worker.clone()),
        request_id,
        job_id,
        span,
        text,
    }
}

/// A worker may print anything.
fn span_of(trace_id: Option<String>, span_id: Option<String>) -> Option<SpanIds> {
    let (trace_id, span_id) = trace_id.zip(span_id)?;
    let is_span = TraceParent::parse(&format!("00-{trace_id}-{span_id}-00")).is_some();
    is_span.then_some(SpanIds { trace_id, span_id })
}

/// The same line, as one of this work.
pub(super) fn about(line: LogLine, work: Work) -> LogLine {
    LogLine { request_id: Some(work.request_id), job_id: work.job_id, ..line }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(request: &str) -> Work {
        Work { request_id: request.into(), job_id: Some("j1".into()) }
    }

    #[test]
    fn a_structured_line_names_its_own_request() {
        let text = r#"{"requestId":"r1","message":"loaded","level":"INFO"}"#.to_owned();
        let line = Line { source: Source::Stdout, text, work: Some(work("guess")) };
        let line = line_of_worker("gpu", &"w1".into(), line);
        assert_eq!((line.request_id.as_deref(), line.level.as_deref()), (Some("r1"), Some("INFO")));
        assert_eq!(line.text, "loaded");
        assert_eq!(line.span, None);
        assert_eq!(line.job_id, None, "the job of the guess is not that of the line");
    }

    #[test]
    fn a_structured_line_names_its_span_if_that_can_be_one() {
        let (trace, span) = ("a".repeat(32), "b".repeat(16));
        let of = |trace: &str| {
            let text = format!(
                r#"{{"requestId":"r1","message":"m","level":"INFO","trace_id":"{trace}","span_id":"{span}"}}"#
            );
            line_of_worker("gpu", &"w1".into(), Line { source: Source::Stdout, text, work: None }).span
        };
        assert_eq!(of(&trace), Some(SpanIds { trace_id: trace.clone(), span_id: span.clone() }));
        assert_eq!(of("x"), None);
    }

    #[test]
    fn a_line_that_names_the_workers_only_request_is_one_of_its_job() {
        for text in [r#"{"requestId":"r1","message":"m","level":"INFO"}"#, "plain"] {
            let line = Line { source: Source::Stdout, text: text.to_owned(), work: Some(work("r1")) };
            let line = line_of_worker("gpu", &"w1".into(), line);
            assert_eq!((line.request_id.as_deref(), line.job_id.as_deref()), (Some("r1"), Some("j1")));
        }
    }

    #[test]
    fn a_plain_line_stays_as_it_is() {
        let line = Line { source: Source::Stderr, text: "{oops".into(), work: None };
        let line = line_of_worker("gpu", &"w1".into(), line);
        assert_eq!((line.text.as_str(), line.stream, line.level), ("{oops", LogStream::Stderr, None));
    }
}
