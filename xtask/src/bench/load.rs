//! The load generator: a closed loop on each of a number of connections.
//!
//! It shares the cores with what it measures, so it does little: one task a connection, which drives the
//! connection and sends the next request when the answer has come and is right.
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{net::TcpStream, task::JoinSet};

use crate::failure::Failure;

const WARM_UP: Duration = Duration::from_secs(2);

/// A request, and what its answer has to contain.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub name: &'static str,
    pub address: SocketAddr,
    pub method: hyper::Method,
    pub path: String,
    pub body: Bytes,
    pub expected: &'static str,
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
/// At the first answer that is not 200 and as expected.
pub(super) async fn measure(
    target: &Target,
    connections: usize,
    time: Duration,
) -> Result<Measured, Failure> {
    let target = Arc::new(target.clone());
    let from = Instant::now() + WARM_UP;
    let until = from + time;
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let target = target.clone();
        tasks.spawn(async move { converse(&target, async |client| client.repeat(from, until).await).await });
    }
    let mut latencies = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended.map_err(Failure::at("a task of the load generator"))??);
    }
    latencies.sort_unstable();
    Ok(Measured {
        requests_per_second: latencies.len() as f64 / time.as_secs_f64(),
        p50_ms: percentile(&latencies, 0.50)?,
        p99_ms: percentile(&latencies, 0.99)?,
    })
}

/// One request on a connection of its own: the answer's body, and the time from request to answer.
pub(super) async fn once(target: &Target) -> Result<(Bytes, Duration), Failure> {
    converse(target, async |client| client.ask().await).await
}

/// Opens a connection for `with` and drives it in the same task: a second one would cost a switch a request.
async fn converse<T>(
    target: &Target,
    with: impl AsyncFnOnce(&mut Client<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let stream = TcpStream::connect(target.address).await.map_err(Failure::at(target.name))?;
    stream.set_nodelay(true).map_err(Failure::at(target.name))?;
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(Failure::at(target.name))?;
    let talk = async move {
        let mut client = Client { target, sender };
        // The sender is dropped with the client, which ends the connection.
        with(&mut client).await
    };
    let (outcome, _) = tokio::join!(talk, connection);
    outcome
}

struct Client<'a> {
    target: &'a Target,
    sender: http1::SendRequest<Full<Bytes>>,
}

impl Client<'_> {
    /// Latencies in nanoseconds of the requests that began after `from` and ended before `until`.
    async fn repeat(&mut self, from: Instant, until: Instant) -> Result<Vec<u64>, Failure> {
        let mut latencies = Vec::with_capacity(1 << 14);
        loop {
            let began = Instant::now();
            if began >= until {
                return Ok(latencies);
            }
            let (_, took) = self.ask().await?;
            if began >= from && began + took < until {
                latencies.push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            }
        }
    }

    async fn ask(&mut self) -> Result<(Bytes, Duration), Failure> {
        let Target { name, address, method, path, body, expected } = self.target;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(body.clone()))
            .map_err(Failure::at(name))?;
        let began = Instant::now();
        self.sender.ready().await.map_err(Failure::at(name))?;
        let response = self.sender.send_request(request).await.map_err(Failure::at(name))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(Failure::at(name))?.to_bytes();
        let took = began.elapsed();
        if status != 200 || !contains(&body, expected) {
            let text: String = String::from_utf8_lossy(&body).chars().take(400).collect();
            return Err(Failure::new(format!(
                "{name} answered {status} to {path}; 200 with {expected} is expected: {text}"
            )));
        }
        Ok((body, took))
    }
}

fn contains(body: &[u8], expected: &str) -> bool {
    body.windows(expected.len()).any(|window| window == expected.as_bytes())
}

/// In milliseconds, of sorted nanoseconds: the smallest value that this share does not exceed.
fn percentile(sorted: &[u64], share: f64) -> Result<f64, Failure> {
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
    fn an_answer_is_searched_for_what_is_expected() {
        assert!(contains(br#"{"label":"positive"}"#, r#""label":"positive""#));
        assert!(!contains(b"{}", r#""label":"positive""#));
    }
}
