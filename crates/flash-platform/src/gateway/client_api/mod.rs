//! The provider's client API, with additions: idempotency keys, listings, dead jobs, server-sent events.
//!
//! It handles requests and responses; jobs are in the queue.
mod change;
mod check;
mod overview;
mod read;
mod submit;

use std::{sync::Arc, time::Duration};

use axum::{Router, response::Response, routing::get, routing::post};
use flash_protocol::wire::job::JobObject;
use flash_text::{Truncated, nearest};
use http::StatusCode;
use serde::{Deserialize, Serialize};

pub(super) use check::check_input;
pub(super) use submit::{Arrived, JobOptions, submit_and_wait};

use super::{
    error::Refusal,
    server::{json_text, nothing_live},
};
use crate::{
    Platform,
    pool::Pool,
    queue::{Failing, JobId, Queue, SubmitError},
    release::Release,
};

/// Payload limits, as the provider documents them.
const MAX_RUN_BYTES: usize = 10_000_000;
pub(super) const MAX_RUNSYNC_BYTES: usize = 20_000_000;
/// How long `runsync` holds, in milliseconds: least, default, most.
const WAIT: (u64, u64, u64) = (1_000, 90_000, 300_000);

/// The paths below `/v2/{endpoint}/`.
pub(super) fn router() -> Router<Platform> {
    Router::new()
        .route("/v2/{endpoint}/run", post(submit::run))
        .route("/v2/{endpoint}/runsync", post(submit::runsync))
        .route("/v2/{endpoint}/status/{job}", get(read::status).post(read::status))
        .route("/v2/{endpoint}/status-sync/{job}", get(read::status_sync).post(read::status_sync))
        .route("/v2/{endpoint}/stream/{job}", get(read::stream).post(read::stream))
        .route("/v2/{endpoint}/cancel/{job}", post(change::cancel))
        .route("/v2/{endpoint}/retry/{job}", post(change::retry))
        .route("/v2/{endpoint}/purge-queue", post(change::purge))
        .route("/v2/{endpoint}/dead", get(overview::dead))
        .route("/v2/{endpoint}/dead/requeue", post(change::requeue_all_dead))
        .route("/v2/{endpoint}/dead/{job}/requeue", post(change::requeue_dead))
        .route("/v2/{endpoint}/health", get(overview::health))
        .route("/v2/{endpoint}/metrics", get(overview::metrics))
        .route("/v2/{endpoint}/requests", get(overview::requests))
}

/// The allowed methods of an API path, by its third segment; `None` for an unknown path.
pub(super) fn allowed_methods(operation: &str) -> Option<&'static str> {
    match operation {
        "run" | "runsync" | "cancel" | "retry" | "purge-queue" => Some("POST"),
        "status" | "status-sync" | "stream" => Some("GET, HEAD, POST"),
        "health" | "metrics" | "requests" | "dead" => Some("GET, HEAD"),
        _ => None,
    }
}

/// A path below `/v2/` that the API does not have.
pub(super) fn unknown(path: &str) -> Refusal {
    const OPERATIONS: [&str; 12] = [
        "run",
        "runsync",
        "status",
        "status-sync",
        "stream",
        "cancel",
        "retry",
        "purge-queue",
        "health",
        "metrics",
        "requests",
        "dead",
    ];
    let operation = path.split('/').nth(3).unwrap_or_default();
    let near = nearest(operation, OPERATIONS);
    Refusal::not_found(format!(
        "the queue API does not have {}{near}; it has /v2/ENDPOINT/{{{}}}",
        Truncated(path),
        OPERATIONS.join(", ")
    ))
}

#[derive(Deserialize)]
struct Wait {
    /// Milliseconds.
    wait: Option<u64>,
}

impl Wait {
    /// The wait that the client requests, within the bounds of `runsync`.
    fn bounded(&self) -> Duration {
        Duration::from_millis(self.wait.unwrap_or(WAIT.1).clamp(WAIT.0, WAIT.2))
    }
}

/// A job's ID and current status.
#[derive(Serialize)]
struct JobSummary<'a> {
    id: &'a str,
    status: &'static str,
}

/// The pool of an endpoint in the live release.
///
/// # Errors
/// 404 with the nearest known names.
pub(super) fn pool_of<'a>(release: &'a Release, endpoint: &str) -> Result<&'a Arc<Pool>, Refusal> {
    release.pool(endpoint).ok_or_else(|| {
        let known = release.pools().map(|pool| pool.worker_type.name.as_str());
        let near = nearest(endpoint, known);
        Refusal::not_found(format!("no endpoint named `{}`{near}", Truncated(endpoint)))
    })
}

fn queue_of<'a>(release: &'a Release, endpoint: &str) -> Result<&'a Arc<Queue>, Refusal> {
    let pool = pool_of(release, endpoint)?;
    pool.queue().ok_or_else(|| {
        Refusal::bad_request(format!(
            "queue operations are not allowed on `{endpoint}`, which is load balanced: send HTTP requests to \
             its paths"
        ))
    })
}

/// The queues of an endpoint, starting with the live release. Clients may ask for a job even if the next release has
/// no such endpoint, or none is live.
///
/// # Errors
/// 404 when no release has such an endpoint.
fn queues_of(platform: &Platform, endpoint: &str) -> Result<Vec<Arc<Queue>>, Refusal> {
    let queue = |release: &Arc<Release>| release.pool(endpoint)?.queue().cloned();
    let queues: Vec<_> = platform.releases().iter().filter_map(queue).collect();
    if queues.is_empty() {
        let live = platform.current().ok_or_else(|| nothing_live(platform))?;
        queue_of(&live, endpoint)?;
    }
    Ok(queues)
}

/// The queue that knows a job: of the live release or of one before.
fn queue_with(platform: &Platform, endpoint: &str, job: &str) -> Result<(Arc<Queue>, JobId), Refusal> {
    let queues = queues_of(platform, endpoint)?;
    let id = JobId::parse(job).ok_or_else(|| no_such_job(endpoint, job))?;
    // The live release last, because a job that moves meanwhile goes from an older release to a newer one.
    let found = queues.iter().rev().find(|queue| queue.knows(id));
    found.map(|queue| (queue.clone(), id)).ok_or_else(|| no_such_job(endpoint, job))
}

fn no_such_job(endpoint: &str, job: &str) -> Refusal {
    Refusal::not_found(format!(
        "endpoint `{}` has no job `{}`: results are kept for 30 minutes (1 minute for runsync), and a job is \
         deleted when its ttl expires",
        Truncated(endpoint),
        Truncated(job)
    ))
}

pub(super) fn job_response(job: &JobObject) -> Result<Response, Refusal> {
    let text = serde_json::to_string(job).map_err(|error| Refusal::bad_request(error.to_string()))?;
    Ok(json_text(text))
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full { .. } | SubmitError::BudgetExceeded(_) => {
                Self::too_many(format!("the queue is full: {error}"))
            }
            SubmitError::KeyInUse(_) => {
                Self::new(StatusCode::CONFLICT, flash_protocol::ErrorKind::Refused, error.to_string())
            }
            SubmitError::Ended => Self::unavailable(error.to_string()),
            SubmitError::Store(failing) => failing.into(),
        }
    }
}

impl From<Failing> for Refusal {
    fn from(failing: Failing) -> Self {
        Self::unavailable(format!("{failing}; try again"))
    }
}
