//! From no worker to the first finished job: how long a client waits for a worker to start.
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;
use serde_json::Value;

use super::{
    compare::median_of,
    load::{self, Target},
    server::Server,
};
use crate::{failure::Failure, output};

const TRIES: usize = 15;
/// How long stopping a worker may take; its idle timeout is one second.
const STOPPED: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(20);

/// Times of the tries.
#[derive(Debug, Serialize)]
pub(super) struct FirstJob {
    pub tries: usize,
    pub median_ms: f64,
    pub least_ms: f64,
    pub most_ms: f64,
}

/// Measures the first `runsync` from zero workers, repeatedly.
pub(super) async fn measure(app: &Server) -> Result<FirstJob, Failure> {
    let job = target(app, Method::POST, "runsync", br#"{"input":{}}"#, r#""status":"COMPLETED""#);
    let health = target(app, Method::GET, "health", b"", r#""workers""#);
    let (mut times, mut last) = (Vec::new(), Value::Null);
    for _ in 0..TRIES {
        until_no_worker(&health).await?;
        let (body, took) = load::once(&job).await?;
        let answer: Value = serde_json::from_slice(&body).map_err(Failure::at(job.name))?;
        let worker = answer["workerId"].clone();
        if !worker.is_string() || worker == last {
            return Err(Failure::new(format!("no worker was started for this job: {answer}")));
        }
        last = worker;
        times.push(took.as_secs_f64() * 1e3);
    }
    let measured = FirstJob {
        tries: TRIES,
        median_ms: median_of(times.clone()),
        least_ms: times.iter().copied().fold(f64::INFINITY, f64::min),
        most_ms: times.iter().copied().fold(0.0, f64::max),
    };
    output::say(
        "Measured",
        &format!("first job from no worker: median {:.1} ms of {TRIES}", measured.median_ms),
    );
    Ok(measured)
}

fn target(
    app: &Server,
    method: Method,
    operation: &str,
    body: &'static [u8],
    expected: &'static str,
) -> Target {
    Target {
        name: "a worker from zero",
        address: app.address,
        method,
        path: format!("/v2/spawned_worker/{operation}"),
        body: Bytes::from_static(body),
        expected,
    }
}

async fn until_no_worker(health: &Target) -> Result<(), Failure> {
    let until = Instant::now() + STOPPED;
    loop {
        let (body, _) = load::once(health).await?;
        let answer: Value = serde_json::from_slice(&body).map_err(Failure::at(health.name))?;
        let workers = answer["workers"]
            .as_object()
            .map(|workers| workers.values().filter_map(Value::as_u64).sum::<u64>());
        match workers {
            Some(0) => return Ok(()),
            _ if Instant::now() > until => {
                return Err(Failure::new(format!(
                    "the worker did not stop within {} s: {answer}",
                    STOPPED.as_secs()
                )));
            }
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}
