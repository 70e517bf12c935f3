//! Log lines of a worker as server-sent events: read, and resumed after a break.
use std::{collections::VecDeque, time::Duration};

use flash_protocol::wire::events::{Event, Events};
use futures_util::{Stream, stream};
use reqwest::{Response, header::ACCEPT};
use serde::Deserialize;

use super::{Rest, RestError, Source};

/// A stream that is silent for this long is reopened: a connection may be dead without notice.
const SILENCE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_secs(1);
/// The number of tries in a row without a result.
const TRIES: u32 = 5;
/// The provider cuts lines long before this length.
const LONGEST_EVENT: usize = 1 << 20;

/// Where to start in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogFrom {
    /// This many of the existing lines, 5000 at most.
    Tail(u32),
    /// RFC 3339.
    Since(String),
}

/// What wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    Container,
    System,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEvent {
    /// The position to resume after; has no other meaning.
    pub id: String,
    /// RFC 3339.
    pub ts: String,
    pub source: LogSource,
    pub line: String,
}

#[derive(Deserialize)]
struct Data {
    ts: String,
    source: LogSource,
    line: String,
}

/// The lines that are complete with these bytes.
fn lines_of(events: &mut Events, bytes: &[u8]) -> Result<Vec<LogEvent>, Source> {
    let found = events.push(bytes)?;
    let with_data = found.into_iter().filter(|event| !event.data.is_empty());
    with_data
        .map(|Event { id, data, .. }| {
            let Data { ts, source, line } = serde_json::from_str(&data)?;
            Ok(LogEvent { id, ts, source, line })
        })
        .collect()
}

/// A log being read.
struct Reading {
    rest: Rest,
    endpoint: String,
    worker: String,
    from: LogFrom,
    answer: Option<Response>,
    events: Events,
    ready: VecDeque<LogEvent>,
    failures: u32,
    has_ended: bool,
}

impl Rest {
    /// A worker's lines as they arrive. Resumes by itself after a break; ends when the worker is gone, and with a
    /// permanent error.
    pub fn worker_logs(
        &self,
        endpoint: &str,
        worker: &str,
        from: LogFrom,
    ) -> impl Stream<Item = Result<LogEvent, RestError>> + Send + use<> {
        Reading::new(self, endpoint, worker, from).lines()
    }

    /// Like [`Rest::worker_logs`], once the log has answered.
    ///
    /// # Errors
    /// When it does not.
    pub async fn opened_worker_logs(
        &self,
        endpoint: &str,
        worker: &str,
        from: LogFrom,
    ) -> Result<impl Stream<Item = Result<LogEvent, RestError>> + Send + use<>, RestError> {
        let mut reading = Reading::new(self, endpoint, worker, from);
        while reading.answer.is_none() && !reading.has_ended {
            match reading.open().await {
                Ok(answer) => reading.answer = Some(answer),
                Err(RestError::NotFound { .. }) => reading.has_ended = true,
                Err(error) => reading.again(error).await?,
            }
        }
        Ok(reading.lines())
    }
}

impl Reading {
    fn new(rest: &Rest, endpoint: &str, worker: &str, from: LogFrom) -> Self {
        Self {
            rest: rest.clone(),
            endpoint: endpoint.to_owned(),
            worker: worker.to_owned(),
            from,
            answer: None,
            events: Events::up_to(LONGEST_EVENT),
            ready: VecDeque::new(),
            failures: 0,
            has_ended: false,
        }
    }

    fn lines(self) -> impl Stream<Item = Result<LogEvent, RestError>> + Send + use<> {
        stream::unfold(self, |mut reading| async move {
            let next = reading.next().await?;
            reading.has_ended = next.is_err();
            Some((next, reading))
        })
    }

    /// Waits for the next try, if there is one.
    async fn again(&mut self, error: RestError) -> Result<(), RestError> {
        self.answer = None;
        self.failures += 1;
        let may_pass = matches!(error, RestError::Unreachable { .. } | RestError::RateLimited { .. });
        if !may_pass || self.failures >= TRIES {
            return Err(error);
        }
        tokio::time::sleep(PAUSE * self.failures).await;
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<LogEvent, RestError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            if self.has_ended {
                return None;
            }
            match self.step().await {
                Ok(()) => {}
                Err(RestError::NotFound { .. }) => return None,
                Err(error) => {
                    if let Err(error) = self.again(error).await {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    fn operation(&self) -> String {
        format!("GET the log of worker {}", self.worker)
    }

    async fn step(&mut self) -> Result<(), RestError> {
        let operation = self.operation();
        let broken = |source: Source| RestError::Unreachable { operation: operation.clone(), source };
        if self.answer.is_none() {
            self.answer = Some(self.open().await?);
            self.events = self.events.resumed();
        }
        let Some(answer) = &mut self.answer else { return Ok(()) };
        match tokio::time::timeout(SILENCE, answer.chunk()).await {
            // Silence is not a failure: nothing may have happened. The connection may be dead, though.
            Err(_) => self.answer = None,
            Ok(Err(error)) => return Err(broken(error.without_url().into())),
            Ok(Ok(None)) => return Err(broken("the connection broke".into())),
            Ok(Ok(Some(bytes))) => {
                let lines = lines_of(&mut self.events, &bytes);
                let lines = lines.map_err(|source| RestError::Malformed { operation, source })?;
                if !lines.is_empty() {
                    self.failures = 0;
                }
                self.ready.extend(lines);
            }
        }
        Ok(())
    }

    async fn open(&self) -> Result<Response, RestError> {
        let mut url = self.rest.log_url(&self.endpoint, &self.worker)?;
        match &self.from {
            LogFrom::Tail(lines) => url.query_pairs_mut().append_pair("tail", &lines.to_string()),
            LogFrom::Since(time) => url.query_pairs_mut().append_pair("since", time),
        };
        let mut request = self.rest.following(url).header(ACCEPT, "text/event-stream");
        if !self.events.last_id().is_empty() {
            request = request.header("Last-Event-ID", self.events.last_id());
        }
        let unreachable = |source: Source| RestError::Unreachable { operation: self.operation(), source };
        // The headers come at once, regardless of the lines.
        let answer = tokio::time::timeout(SILENCE, request.send()).await;
        let answer = answer.map_err(|_| unreachable("no answer".into()))?;
        let answer = answer.map_err(|error| unreachable(error.without_url().into()))?;
        match answer.status() {
            status if status.is_success() => Ok(answer),
            status if status.as_u16() == 429 => {
                Err(RestError::RateLimited { operation: self.operation(), pause: PAUSE })
            }
            status => {
                let body = answer.bytes().await.unwrap_or_default();
                Err(RestError::of_status(&self.operation(), status.as_u16(), &body))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_the_bytes_are_cut() {
        let text = "id: t/01\ndata: {\"ts\":\"t\",\"source\":\"container\",\"line\":\"a\\nb ä\"}\n\n: comment\n\nid: t/02\r\n\
                    data: {\"ts\":\"u\",\"source\":\"system\",\"line\":\"\"}\r\n\r\n";
        for size in 1..text.len() {
            let mut reader = Events::up_to(LONGEST_EVENT);
            let parts = text.as_bytes().chunks(size);
            let events: Vec<LogEvent> = parts.flat_map(|part| lines_of(&mut reader, part).unwrap()).collect();
            assert_eq!(events.len(), 2, "{size}");
            assert_eq!((events[0].id.as_str(), events[0].line.as_str()), ("t/01", "a\nb ä"));
            assert_eq!((events[1].id.as_str(), events[1].source), ("t/02", LogSource::System));
        }
    }

    #[test]
    fn a_stream_that_is_none_is_told() {
        assert!(lines_of(&mut Events::up_to(LONGEST_EVENT), b"data: {}\n\n").is_err());
        assert!(lines_of(&mut Events::up_to(LONGEST_EVENT), &vec![b'x'; LONGEST_EVENT + 1]).is_err());
    }
}
