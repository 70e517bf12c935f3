//! The guarantees of the log: order, complete lines, nothing lost or duplicated, limits.
mod find;
mod keep;

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::StreamExt as _;

use super::{
    LogLimits, LogLine, LogQuery, LogRecord, LogStore, LogStream, Records, Selected, SpanIds, Tail, segment,
};

/// Generous: the machine may be busy.
const BOUND: Duration = Duration::from_secs(30);

fn small() -> LogLimits {
    LogLimits { segment_bytes: 4096, ..LogLimits::default() }
}

fn line(worker: &str, text: impl Into<String>) -> LogLine {
    let id: Arc<str> = worker.into();
    LogLine { stream: LogStream::Stdout, ..LogLine::system("gpu", Some(&id), text.into()) }
}

fn all() -> LogQuery {
    LogQuery::default()
}

fn of(select: Selected) -> LogQuery {
    LogQuery { select, ..LogQuery::default() }
}

fn last(count: usize, select: Selected) -> LogQuery {
    LogQuery { select, tail: Tail::Last(NonZeroUsize::new(count).unwrap()), follow: false }
}

async fn next(records: &mut Records) -> LogRecord {
    let record = tokio::time::timeout(BOUND, records.next()).await.expect("a line in time");
    record.expect("a line").unwrap()
}

async fn records(store: &LogStore, query: &LogQuery) -> Vec<LogRecord> {
    let found = store.query(query).unwrap().map(|record| record.unwrap()).collect();
    tokio::time::timeout(BOUND, found).await.unwrap()
}

async fn texts(store: &LogStore, query: &LogQuery) -> Vec<String> {
    records(store, query).await.into_iter().map(|record| record.text).collect()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn segments(directory: &Path) -> Vec<u64> {
    segment::list(directory).unwrap().iter().map(|segment| segment.number).collect()
}

fn day(day: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs((20_000 + day) * 24 * 3600)
}
