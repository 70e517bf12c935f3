//! The load generator: a closed loop on each of a number of connections.
//!
//! It shares the cores with what it measures, so it does little: one task per connection, which drives the
//! connection and sends the next request when the answer has arrived and is correct.
use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::{net::TcpStream, task::JoinSet};

use crate::failure::Failure;

/// Before each measurement.
pub(super) const WARM_UP: Duration = Duration::from_secs(2);

/// A request, and what its answer must contain.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub name: &'static str,
    pub address: SocketAddr,
    pub method: hyper::Method,
    pub path: String,
    pub body: Bytes,
    pub expected: &'static str,
}

/// One turn of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The request.
    Request,
    /// The request is `…/run`; then `…/status-sync/ID` of the new job, which must be completed.
    RunAndAwait,
}

/// The numbers of one measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Measured {
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

/// Measures for `time`, after a warm-up.
///
/// # Errors
/// At the first answer that is not 200 and as expected, and when no turn ended in time.
pub(super) async fn measure(
    target: &Target,
    connections: usize,
    time: Duration,
) -> Result<Measured, Failure> {
    Measured::of(&turns(target, Turn::Request, connections, time).await?, time)
}

/// Like [`measure`]: the duration of each turn that ended within the time, as sorted nanoseconds.
pub(super) async fn turns(
    target: &Target,
    turn: Turn,
    connections: usize,
    time: Duration,
) -> Result<Vec<u64>, Failure> {
    let target = Arc::new(target.clone());
    let from = Instant::now() + WARM_UP;
    let until = from + time;
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        tasks.spawn(async move {
            let mut latencies = Vec::with_capacity(1 << 14);
            let turning =
                converse(&target, async |client| client.repeat(turn, from, until, &mut latencies).await);
            // A turn that is still running does not count: nobody waits for slow ones.
            match tokio::time::timeout_at(until.into(), turning).await {
                Ok(Err(failure)) => Err(failure),
                Ok(Ok(())) | Err(_) => Ok(latencies),
            }
        });
    }
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended.map_err(Failure::at("a task of the load generator"))??);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

impl Measured {
    /// Of sorted nanoseconds.
    ///
    /// # Errors
    /// When there are none.
    pub(super) fn of(latencies: &[u64], time: Duration) -> Result<Self, Failure> {
        Ok(Self {
            requests_per_second: latencies.len() as f64 / time.as_secs_f64(),
            p50_ms: percentile(latencies, 0.50)?,
            p99_ms: percentile(latencies, 0.99)?,
        })
    }
}

/// A number of requests, sent as fast as the connections allow.
pub(super) struct Sent {
    pub took: Duration,
    /// Times of the first and the last of them.
    pub first: Duration,
    pub last: Duration,
    /// Every [`SAMPLE`]th answer.
    pub answers: Vec<Bytes>,
}

/// One in this many answers is kept.
const SAMPLE: u64 = 1000;

/// Sends a request `count` times, and returns the times of the first and the last `part` separately.
///
/// # Errors
/// At the first answer that is not 200 and as expected.
pub(super) async fn send(
    target: &Target,
    connections: usize,
    count: u64,
    part: u64,
) -> Result<Sent, Failure> {
    let shared = Arc::new(Sending::default());
    let target = Arc::new(target.clone());
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (target, shared) = (target.clone(), shared.clone());
        tasks.spawn(async move {
            converse(&target, async |client| client.send(&shared, count, part, began).await).await
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.map_err(Failure::at("a task of the load generator"))??;
    }
    let took = began.elapsed();
    let Marks { first, before_last, answers } = std::mem::take(&mut *shared.marks.lock());
    Ok(Sent { took, first, last: took.saturating_sub(before_last), answers })
}

#[derive(Default)]
struct Sending {
    begun: AtomicU64,
    ended: AtomicU64,
    marks: Mutex<Marks>,
}

#[derive(Default)]
struct Marks {
    first: Duration,
    before_last: Duration,
    answers: Vec<Bytes>,
}

/// Connections that each hold an unanswered request.
pub(super) struct Held {
    _tasks: JoinSet<()>,
}

/// Sends the request once on each of a number of connections, without waiting for answers.
///
/// # Errors
/// When a connection cannot be made or the request cannot be sent.
pub(super) async fn hold(target: &Target, connections: usize) -> Result<Held, Failure> {
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (mut sender, connection) = connect(target).await?;
        let request = target.request(&target.method, &target.path, target.body.clone())?;
        tasks.spawn(async move {
            // Both end when the task set is dropped.
            let _ = tokio::join!(sender.send_request(request), connection);
        });
    }
    Ok(Held { _tasks: tasks })
}

/// One request on its own connection: the answer's body, and the time from request to answer.
pub(super) async fn once(target: &Target) -> Result<(Bytes, Duration), Failure> {
    converse(target, async |client| client.ask().await).await
}

type Connection = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

async fn connect(target: &Target) -> Result<(http1::SendRequest<Full<Bytes>>, Connection), Failure> {
    let stream = TcpStream::connect(target.address).await.map_err(Failure::at(target.name))?;
    stream.set_nodelay(true).map_err(Failure::at(target.name))?;
    http1::handshake(TokioIo::new(stream)).await.map_err(Failure::at(target.name))
}

/// Opens a connection for `with` and drives it in the same task: a second task would cost a switch per request.
async fn converse<T>(
    target: &Target,
    with: impl AsyncFnOnce(&mut Client<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let (sender, connection) = connect(target).await?;
    let mut client = Client { target, sender };
    let mut talk = pin!(with(&mut client));
    tokio::select! {
        outcome = &mut talk => outcome,
        // The running request gets the error.
        _ = connection => talk.await,
    }
}

impl Target {
    fn request(
        &self,
        method: &hyper::Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Failure> {
        Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(body))
            .map_err(Failure::at(self.name))
    }
}

struct Client<'a> {
    target: &'a Target,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Client<'_> {
    /// Adds latencies in nanoseconds of the turns that ended between `from` and `until`: of slow ones, too, as many as there
    /// are in such a time, because those that began before it count in place of those that end after it.
    async fn repeat(
        &mut self,
        turn: Turn,
        from: Instant,
        until: Instant,
        latencies: &mut Vec<u64>,
    ) -> Result<(), Failure> {
        loop {
            let began = Instant::now();
            if began >= until {
                return Ok(());
            }
            let (answer, mut took) = self.ask().await?;
            if turn == Turn::RunAndAwait {
                took += self.await_job(&answer).await?;
            }
            if began + took >= from && began + took < until {
                latencies.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            }
        }
    }

    /// Its share of the requests of [`send`].
    async fn send(&mut self, all: &Sending, count: u64, part: u64, began: Instant) -> Result<(), Failure> {
        while all.begun.fetch_add(1, Ordering::Relaxed) < count {
            let (answer, _) = self.ask().await?;
            let ended = all.ended.fetch_add(1, Ordering::Relaxed) + 1;
            if ended == part || ended + part == count || ended.is_multiple_of(SAMPLE) {
                let mut marks = all.marks.lock();
                if ended == part {
                    marks.first = began.elapsed();
                }
                if ended + part == count {
                    marks.before_last = began.elapsed();
                }
                if ended.is_multiple_of(SAMPLE) {
                    marks.answers.push(answer);
                }
            }
        }
        Ok(())
    }

    async fn ask(&mut self) -> Result<(Bytes, Duration), Failure> {
        let Target { method, path, body, expected, .. } = self.target;
        self.exchange(method, path, body.clone(), expected).await
    }

    /// Waits for the end of the job in an answer of `run`.
    async fn await_job(&mut self, answer: &[u8]) -> Result<Duration, Failure> {
        let Target { name, path, .. } = self.target;
        let id = job_id(answer)
            .ok_or_else(|| Failure::new(format!("{name}: the answer to {path} contains no job ID")))?;
        let path = format!("{}/status-sync/{id}", path.trim_end_matches("/run"));
        let asked = self.exchange(&hyper::Method::GET, &path, Bytes::new(), r#""status":"COMPLETED""#).await;
        asked.map(|(_, took)| took)
    }

    async fn exchange(
        &mut self,
        method: &hyper::Method,
        path: &str,
        body: Bytes,
        expected: &str,
    ) -> Result<(Bytes, Duration), Failure> {
        let name = self.target.name;
        let request = self.target.request(method, path, body)?;
        let began = Instant::now();
        self.sender.ready().await.map_err(Failure::at(name))?;
        let response = self.sender.send_request(request).await.map_err(Failure::at(name))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(Failure::at(name))?.to_bytes();
        let took = began.elapsed();
        if status != 200 || !contains(&body, expected) {
            let text: String = String::from_utf8_lossy(&body).chars().take(400).collect();
            return Err(Failure::new(format!(
                "{name} answered {status} to {path}; expected 200 with {expected}: {text}"
            )));
        }
        Ok((body, took))
    }
}

/// The value of `id` in an answer. Without a parser, because this runs on the measured cores.
pub(super) fn job_id(answer: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(answer).ok()?;
    let (_, rest) = text.split_once(r#""id":""#)?;
    rest.split_once('"').map(|(id, _)| id)
}

fn contains(body: &[u8], expected: &str) -> bool {
    body.windows(expected.len()).any(|window| window == expected.as_bytes())
}

/// In milliseconds, from sorted nanoseconds: the smallest value that this share does not exceed.
pub(super) fn percentile(sorted: &[u64], share: f64) -> Result<f64, Failure> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let value = sorted.get(rank.saturating_sub(1));
    let value = value
        .ok_or_else(|| Failure::new("no request ended within the measured time").hint("more --seconds"))?;
    Ok(*value as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let sorted: Vec<u64> = (1..=100).map(|ms| ms * 1_000_000).collect();
        assert_eq!(percentile(&sorted, 0.50).unwrap(), 50.0);
        assert_eq!(percentile(&sorted, 0.99).unwrap(), 99.0);
        assert_eq!(percentile(&sorted[..1], 0.99).unwrap(), 1.0);
        assert!(percentile(&[], 0.5).is_err());
    }

    #[test]
    fn a_job_is_found_in_the_answer_that_names_it() {
        assert_eq!(job_id(br#"{"id":"0190-u1","status":"IN_QUEUE"}"#), Some("0190-u1"));
        assert_eq!(job_id(br#"{"error":"full"}"#), None);
    }

    #[test]
    fn an_answer_is_searched_for_what_is_expected() {
        assert!(contains(br#"{"label":"positive"}"#, r#""label":"positive""#));
        assert!(!contains(b"{}", r#""label":"positive""#));
    }
}
