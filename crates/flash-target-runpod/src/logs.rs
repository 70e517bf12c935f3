//! The lines of all workers of an environment, as one log.
//!
//! The provider keeps one log per worker, as long as the worker exists; each is a stream of its own. Here they are
//! merged by time.
use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use flash_logs::LogMatcher;
use flash_target::{EnvironmentId, LogQuery, LogRecord, LogStream, Selected, Tail, TargetError};
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::{sync::mpsc, time::Instant};

use super::{
    names::{RELEASE, of_environment},
    rest::{CloudWorker, Endpoint, LogEvent, LogFrom, LogSource, Rest, RestError},
};

/// The largest number of existing lines to read from a worker's log.
const MOST_LINES: u32 = 5000;
/// A followed log does not mark the end of its existing lines: it is assumed after this long without a line.
const QUIET: Duration = Duration::from_millis(1500);
/// The interval of looks for new workers.
const LOOK: Duration = Duration::from_secs(5);
/// The buffer of lines for a slow reader.
const WAITING: usize = 256;

/// What a worker's lines belong to.
#[derive(Clone)]
struct Source {
    worker_type: String,
    worker: String,
    release: Option<u64>,
    endpoint: String,
}

/// The format of our workers' lines in a container, and of the provider's own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonLine {
    #[serde(default)]
    request_id: Option<String>,
    message: String,
    #[serde(default)]
    level: Option<String>,
}

fn record(source: &Source, event: LogEvent) -> LogRecord {
    let time = event.ts.parse::<Timestamp>().map_or(0, |time| time.as_microsecond());
    let parsed: Option<JsonLine> =
        event.line.starts_with('{').then(|| serde_json::from_str(&event.line).ok()).flatten();
    let (text, level, request) = match parsed {
        Some(JsonLine { request_id, message, level }) => (message, level, request_id),
        None => (event.line, None, None),
    };
    LogRecord {
        time_us: u64::try_from(time).unwrap_or(0),
        release: source.release,
        worker_type: source.worker_type.clone(),
        worker: Some(source.worker.clone()),
        // At Runpod, a job is a request.
        job_id: request.clone(),
        request_id: request,
        span: None,
        stream: match event.source {
            LogSource::Container => LogStream::Stdout,
            LogSource::System => LogStream::System,
        },
        level,
        text,
    }
}

/// The lines of an environment that the query selects.
pub(super) async fn lines_of(
    rest: &Rest,
    id: &EnvironmentId,
    query: &LogQuery,
) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError> {
    let matcher = LogMatcher::new(&query.select)?;
    let sources = sources(rest, id, &query.select).await?;
    let from = from(query);
    let there = match query.tail {
        Tail::Nothing => Vec::new(),
        Tail::All | Tail::Last(_) => past(rest, &sources, &from).await?,
    };
    let (there, matcher) = chosen(there, matcher, query.tail);
    let newest = there.iter().map(|line| line.time_us).max();
    let of_newest = there.iter().filter(|line| Some(line.time_us) == newest);
    let at_newest = of_newest.map(|line| (line.worker.clone(), line.text.clone())).collect();
    let past = stream::iter(there.into_iter().map(Ok));
    if !query.follow {
        return Ok(past.boxed());
    }
    let (rest, id, query) = (rest.clone(), id.clone(), query.clone());
    let following = Following { rest, id, query, matcher, first: sources, newest, at_newest };
    Ok(past.chain(follow(following)).boxed())
}

/// Where to start reading each worker's log.
fn from(query: &LogQuery) -> LogFrom {
    match (query.select.since_us, query.tail) {
        (Some(since), _) => {
            let time = i64::try_from(since).ok().and_then(|us| Timestamp::from_microsecond(us).ok());
            LogFrom::Since(time.unwrap_or(Timestamp::UNIX_EPOCH).to_string())
        }
        // Filtering happens here: the last ten matching lines may be far back.
        (None, Tail::All | Tail::Last(_)) => LogFrom::Tail(MOST_LINES),
        (None, Tail::Nothing) => LogFrom::Tail(0),
    }
}

/// The existing workers. A worker's release is the one that last changed its endpoint.
async fn sources(rest: &Rest, id: &EnvironmentId, select: &Selected) -> Result<Vec<Source>, RestError> {
    let endpoints = of_environment(id, &rest.endpoints().await?).by_worker;
    // A worker type needs only its own endpoint; the ID of a worker needs all.
    let named = select.worker.as_ref().filter(|name| endpoints.contains_key(*name)).cloned();
    let chosen: BTreeMap<String, Endpoint> = endpoints
        .into_iter()
        .filter(|(worker, _)| named.as_ref().is_none_or(|name| name == worker))
        .collect();
    let mut sources = Vec::new();
    for (worker_type, endpoint) in chosen {
        let release = endpoint.env.as_ref().and_then(|env| env.get(RELEASE)?.parse().ok());
        let source = |worker: CloudWorker| Source {
            worker_type: worker_type.clone(),
            worker: worker.id,
            release,
            endpoint: endpoint.id.clone(),
        };
        sources.extend(rest.workers(&endpoint.id).await?.workers.into_iter().map(source));
    }
    Ok(sources)
}

fn lines(rest: &Rest, source: Source, from: LogFrom) -> BoxStream<'static, Result<LogRecord, RestError>> {
    let events = rest.worker_logs(&source.endpoint, &source.worker, from);
    events.map(move |event| event.map(|event| record(&source, event))).boxed()
}

/// The existing lines, by time. A log that is silent for a while is complete.
async fn past(rest: &Rest, sources: &[Source], from: &LogFrom) -> Result<Vec<LogRecord>, TargetError> {
    let read = sources.iter().map(async |source| {
        // Silence only counts from then on.
        let opened = rest.opened_worker_logs(&source.endpoint, &source.worker, from.clone()).await?;
        let mut lines = opened.map(|event| event.map(|event| record(source, event))).boxed();
        let mut all = Vec::new();
        while let Ok(Some(line)) = tokio::time::timeout(QUIET, lines.next()).await {
            all.push(line?);
        }
        Ok::<_, RestError>(all)
    });
    let mut all: Vec<LogRecord> =
        futures_util::future::try_join_all(read).await?.into_iter().flatten().collect();
    // Stable: lines of one worker keep their order.
    all.sort_by_key(|line| line.time_us);
    Ok(all)
}

/// The matching lines.
fn chosen(all: Vec<LogRecord>, mut matcher: LogMatcher, tail: Tail) -> (Vec<LogRecord>, LogMatcher) {
    let mut lines: Vec<LogRecord> = all.into_iter().filter(|line| matcher.takes(line)).collect();
    if let Tail::Last(last) = tail {
        lines.drain(..lines.len().saturating_sub(last.get()));
    }
    (lines, matcher)
}

/// New lines, including those of workers that start later. Ends when nobody reads them any more.
fn follow(mut following: Following) -> impl Stream<Item = Result<LogRecord, TargetError>> + Send {
    let (give, take) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let reader = give.clone();
        tokio::select! {
            () = following.run(&give) => {}
            () = reader.closed() => {}
        }
    });
    stream::unfold(take, |mut take| async move { Some((take.recv().await?, take)) })
}

/// A followed log.
struct Following {
    rest: Rest,
    id: EnvironmentId,
    query: LogQuery,
    matcher: LogMatcher,
    first: Vec<Source>,
    /// The time of the newest line already shown.
    newest: Option<u64>,
    /// The lines of that time already shown: more lines of it may have come since.
    at_newest: HashSet<(Option<String>, String)>,
}

impl Following {
    fn is_shown(&self, line: &LogRecord) -> bool {
        match self.newest {
            Some(newest) if line.time_us < newest => true,
            Some(newest) if line.time_us == newest => {
                self.at_newest.contains(&(line.worker.clone(), line.text.clone()))
            }
            _ => false,
        }
    }

    fn begin(&self) -> LogFrom {
        let time = self.newest.and_then(|us| Timestamp::from_microsecond(i64::try_from(us).ok()?).ok());
        match time {
            Some(time) => LogFrom::Since(time.to_string()),
            None => from(&LogQuery { tail: Tail::Nothing, ..self.query.clone() }),
        }
    }

    async fn run(&mut self, give: &mpsc::Sender<Result<LogRecord, TargetError>>) {
        let (mut known, mut all) = (HashSet::new(), SelectAll::new());
        for source in std::mem::take(&mut self.first) {
            known.insert(source.worker.clone());
            all.push(lines(&self.rest, source, self.begin()));
        }
        let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        loop {
            let failed = tokio::select! {
                Some(line) = all.next(), if !all.is_empty() => match line {
                    Ok(line) if !self.is_shown(&line) && self.matcher.takes(&line) => {
                        match give.send(Ok(line)).await {
                            Ok(()) => None,
                            Err(_) => return,
                        }
                    }
                    Ok(_) => None,
                    Err(error) => Some(error),
                },
                _ = look.tick() => match sources(&self.rest, &self.id, &self.query.select).await {
                    Ok(now) => {
                        for source in now.into_iter().filter(|source| known.insert(source.worker.clone())) {
                            // All of its lines: the worker is new.
                            all.push(lines(&self.rest, source, LogFrom::Tail(MOST_LINES)));
                        }
                        None
                    }
                    // Known workers continue; the next look may succeed.
                    Err(RestError::Unreachable { .. } | RestError::RateLimited { .. }) => None,
                    Err(error) => Some(error),
                },
            };
            if let Some(error) = failed {
                // Nobody reads any more, so nothing is lost.
                let _ = give.send(Err(error.into())).await;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source {
            worker_type: "gpu".to_owned(),
            worker: "w1".to_owned(),
            release: Some(3),
            endpoint: "e1".to_owned(),
        }
    }

    fn event(ts: &str, line: &str) -> LogEvent {
        LogEvent {
            id: "1".to_owned(),
            ts: ts.to_owned(),
            source: LogSource::Container,
            line: line.to_owned(),
        }
    }

    #[test]
    fn lines_are_read_as_workers_write_them() {
        let json =
            event("2026-06-01T12:05:04.5Z", r#"{"requestId":"j1","message":"Started.","level":"INFO"}"#);
        let line = record(&source(), json);
        assert_eq!((line.job_id.as_deref(), line.text.as_str()), (Some("j1"), "Started."));
        assert_eq!((line.level.as_deref(), line.release), (Some("INFO"), Some(3)));
        assert_eq!(line.time_us, 1_780_315_504_500_000);
        for plain in ["hello", "{not json", r#"{"other":1}"#] {
            let line = record(&source(), event("2026-06-01T12:05:04Z", plain));
            assert_eq!((line.text.as_str(), line.job_id), (plain, None));
        }
    }

    #[test]
    fn the_last_lines_are_the_last_of_those_that_fit() {
        let all: Vec<LogRecord> = (0..10)
            .map(|second| {
                record(
                    &source(),
                    event(&format!("2026-06-01T12:05:0{second}Z"), &format!("line {}", second % 2)),
                )
            })
            .collect();
        let select = Selected { search: Some("line 1".to_owned()), ..Selected::default() };
        let matcher = LogMatcher::new(&select).unwrap();
        let two = Tail::Last(std::num::NonZeroUsize::new(2).unwrap());
        let (lines, _) = chosen(all, matcher, two);
        let seconds: Vec<u64> = lines.iter().map(|line| line.time_us / 1_000_000 % 60).collect();
        assert_eq!(seconds, [7, 9]);
    }
}
