//! The log: its latest lines, and those that follow.
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flash_dashboard::view::{self, Level};
use flash_logs::{LogLevel, LogQuery, LogRecord, LogStream, Records, SearchError, Selected, Tail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    super::{error::Refusal, extract::Parameters, state::GatewayState},
    frame::frame,
    html,
};

/// Lines that the page begins with.
const LINES: NonZeroUsize = NonZeroUsize::new(300).expect("it is not zero");
/// How long reading them may take; a search through a long log shows what it has found by then.
const READING: Duration = Duration::from_secs(5);
/// Lines that are sent together.
const TOGETHER: usize = 256;
/// The interval of comments that keep a connection alive, and find out that nobody reads.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After this, the browser connects again: whoever may not see the log any more stops seeing it.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// Which lines; empty fields of the form count as missing.
#[derive(Deserialize)]
pub(super) struct Filters {
    #[serde(default)]
    worker: String,
    #[serde(default)]
    request: String,
    #[serde(default)]
    level: String,
    #[serde(default)]
    search: String,
}

impl Filters {
    fn selected(&self) -> Selected {
        let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Selected {
            worker: given(&self.worker),
            request: given(&self.request),
            level: self.level.parse::<LogLevel>().ok(),
            search: given(&self.search),
            ..Selected::default()
        }
    }

    fn query(&self, follow: bool) -> LogQuery {
        LogQuery { select: self.selected(), tail: Tail::Last(LINES), follow }
    }
}

/// `GET /_flash/logs`
pub(super) async fn page(
    State(state): State<Arc<GatewayState>>,
    Parameters(filters): Parameters<Filters>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if state.dashboard.options.log.is_none() {
        return Err(no_log());
    }
    let (lines, problem) = match lines(&state, &filters.query(false)).await {
        Ok(lines) => (lines, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    let live = state.releases.live();
    let Filters { worker, request, level, search } = filters;
    let worker_types = live.iter().flat_map(|live| live.pools()).map(|pool| pool.worker_type.name.clone());
    let view =
        view::Logs { worker, request, level, search, problem, lines, worker_types: worker_types.collect() };
    Ok(html(StatusCode::OK, flash_dashboard::logs(&frame(&state, &headers), &view)))
}

fn no_log() -> Refusal {
    Refusal::not_found("this platform keeps no log")
}

/// Lines of the log that exist; none where there is no log.
///
/// # Errors
/// For a search that is not a regular expression.
pub(super) async fn lines(state: &GatewayState, query: &LogQuery) -> Result<Vec<view::LogLine>, SearchError> {
    let Some(log) = &state.dashboard.options.log else { return Ok(Vec::new()) };
    let mut records = log.query(query)?;
    let (mut lines, until) = (Vec::new(), Instant::now() + READING);
    // A line that cannot be read from the disk ends the list.
    while let Ok(Some(Ok(record))) = tokio::time::timeout_at(until, records.next()).await {
        lines.push(line(record));
    }
    Ok(lines)
}

fn line(record: LogRecord) -> view::LogLine {
    let level = match (record.level.as_deref().map(str::parse), record.stream) {
        (Some(Ok(LogLevel::Trace | LogLevel::Debug)), _) => Level::Debug,
        (Some(Ok(LogLevel::Warn)), _) => Level::Warn,
        (Some(Ok(LogLevel::Error)), _) => Level::Error,
        (None, LogStream::Stderr) => Level::Warn,
        _ => Level::Info,
    };
    view::LogLine {
        time_ms: record.time_us / 1000,
        worker_type: record.worker_type,
        worker: record.worker,
        request_id: record.request_id,
        level,
        is_of_platform: record.stream == LogStream::System,
        text: record.text,
    }
}

/// `GET /_flash/logs/follow`: the lines of the page and those after them, as server-sent events.
pub(super) async fn follow(
    State(state): State<Arc<GatewayState>>,
    Parameters(filters): Parameters<Filters>,
) -> Result<Response, Refusal> {
    let log = state.dashboard.options.log.as_ref().ok_or_else(no_log)?;
    let records = log.query(&filters.query(true));
    let records = records.map_err(|error| Refusal::bad_request(error.to_string()))?;
    let begin =
        stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"event: begin\ndata:\n\n")) });
    let events = begin.chain(events(records));
    let until_the_end = events.take_until(state.closing.clone().cancelled_owned());
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(until_the_end)).into_response())
}

/// An event for each line, and a comment where there is none for a while.
fn events(records: Records) -> impl futures_util::Stream<Item = std::io::Result<Bytes>> {
    let until = Instant::now() + LONGEST;
    let chunks = Box::pin(records.map_ok(|record| event(&line(record))).ready_chunks(TOGETHER));
    stream::unfold(chunks, move |mut chunks| async move {
        if Instant::now() >= until {
            return None;
        }
        let bytes = match tokio::time::timeout(KEEP_ALIVE, chunks.next()).await {
            Ok(Some(events)) => events.into_iter().collect::<Result<String, _>>().map(Bytes::from),
            Ok(None) => return None,
            Err(_) => Ok(Bytes::from_static(b":\n\n")),
        };
        Some((bytes, chunks))
    })
}

/// A line as an event. Its text may have line breaks, which would end the event.
fn event(line: &view::LogLine) -> String {
    let item = flash_dashboard::log_item(line).replace('\r', "").replace('\n', "&#10;");
    format!("event: line\ndata: {item}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_event_whatever_it_contains() {
        let text = "one\r\ntwo\n\nevent: begin\ndata: <script>alert(1)</script>".to_owned();
        let record = LogRecord {
            time_us: 1_700_000_000_000_000,
            release: None,
            worker_type: "gpu".to_owned(),
            worker: None,
            request_id: None,
            job_id: None,
            span: None,
            stream: LogStream::Stderr,
            level: None,
            text,
        };
        let event = event(&line(record));
        assert_eq!(event.matches('\n').count(), 3, "{event}");
        assert!(event.contains("&lt;script&gt;") && !event.contains("<script>"), "{event}");
        assert!(event.contains("class=\"warn\""), "stderr without a level: {event}");
    }
}
