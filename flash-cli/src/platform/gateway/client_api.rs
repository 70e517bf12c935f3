//! The provider's client API: run, runsync, status, stream, cancel, retry, purge-queue, health.
use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use flash_sdk::{
    manifest::FunctionEntry,
    wire::{
        RawJson,
        envelope::{self, Envelope},
        job::{JobObject, JobRequest},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};
use tokio::sync::oneshot;

use super::{
    error::{Refusal, nearest},
    server::{Parameters, RequestId, Segments, json_text, live, read_body},
};
use crate::platform::{
    Platform,
    pool::{Phase, Pool},
    queue::{ChangeError, JobId, Queue, QueueFull, Submission, Waiter},
    release::Release,
};

/// Payload limits, as the provider documents them.
const MAX_RUN_BYTES: usize = 10_000_000;
pub(super) const MAX_RUNSYNC_BYTES: usize = 20_000_000;
/// How long `runsync` holds: least, default, most.
const WAIT: (u64, u64, u64) = (1_000, 90_000, 300_000);
/// How long `stream` holds when the client does not say: less than the 10 s of the official client.
const STREAM_HOLD: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
pub(super) struct Wait {
    wait: Option<u64>,
}

/// A job that was accepted.
#[derive(Serialize)]
struct Accepted<'a> {
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
        Refusal::not_found(format!("there is no endpoint `{endpoint}`{}", nearest(endpoint, known)))
    })
}

fn queue_of<'a>(release: &'a Release, endpoint: &str) -> Result<&'a Queue, Refusal> {
    let pool = pool_of(release, endpoint)?;
    pool.queue().ok_or_else(|| {
        Refusal::bad_request(format!(
            "`{endpoint}` is load balanced and takes no jobs: send HTTP requests to its paths"
        ))
    })
}

/// Runs `with` on the queue that knows the job: of the live release or of one before.
fn with_job<T>(
    platform: &Platform,
    endpoint: &str,
    job: &str,
    mut with: impl FnMut(&Queue, &JobId) -> Option<T>,
) -> Result<T, Refusal> {
    let id = JobId::from(job);
    let releases = platform.releases();
    if let Some(live) = releases.first() {
        pool_of(live, endpoint)?;
    }
    releases
        .iter()
        .filter_map(|release| release.pool(endpoint)?.queue())
        .find_map(|queue| with(queue, &id))
        .ok_or_else(|| {
            Refusal::not_found(format!(
                "endpoint `{endpoint}` has no job `{job}`: results are kept for 30 minutes, those of runsync for one"
            ))
        })
}

/// What a body asks for, checked.
struct Checked {
    input: RawJson,
    envelope: Envelope,
    execution_timeout: Option<Duration>,
}

/// Parses and checks the body of `run` and `runsync`.
fn check(release: &Release, endpoint: &str, request_id: &str, body: &[u8]) -> Result<Checked, Refusal> {
    // serde would read a list as the fields in order.
    if body.trim_ascii_start().first() == Some(&b'[') {
        return Err(Refusal::bad_request("the body is no job: send {\"input\": {…}}"));
    }
    let request: JobRequest = serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => {
            Refusal::bad_request(format!("the body is no job: {error}; send {{\"input\": {{…}}}}"))
        }
        _ => Refusal::bad_request(format!("the body is no JSON: {error}")),
    })?;
    let input = request.input.ok_or_else(|| {
        let fields = vec![flash_sdk::FieldError { path: "/input".into(), message: "missing".into() }];
        Refusal::unprocessable(fields)
    })?;
    let (envelope, input) = if pool_of(release, endpoint)?.command().is_some() {
        // A program has no functions and no schema: its input goes through as it is.
        (Envelope { request_id: Some(request_id.to_owned()), ..Envelope::default() }, input)
    } else {
        let (mut envelope, input) = envelope::open(input);
        envelope.request_id.get_or_insert_with(|| request_id.to_owned());
        let function = function_of(release, endpoint, envelope.function.as_deref())?;
        envelope.function = Some(release.function(function).call_name());
        check_input(release, function, &input)?;
        (envelope, input)
    };
    Ok(Checked {
        input,
        envelope,
        execution_timeout: request.policy.execution_timeout.map(Duration::from_millis),
    })
}

/// The function that a job is for: the named one, or the only one.
fn function_of(release: &Release, endpoint: &str, name: Option<&str>) -> Result<usize, Refusal> {
    let all =
        || release.manifest.functions.iter().enumerate().filter(|(_, function)| function.worker == endpoint);
    let is_named =
        |function: &FunctionEntry, name: &str| function.call_name() == name || function.name == name;
    let found = match name {
        Some(name) => all().find(|(_, function)| is_named(function, name)).map(|(index, _)| index),
        None => match (all().next(), all().nth(1)) {
            (Some((only, _)), None) => Some(only),
            _ => None,
        },
    };
    found.ok_or_else(|| {
        let known: Vec<String> = all().map(|(_, function)| function.call_name()).collect();
        let message = match name {
            Some(name) => {
                let near = nearest(name, known.iter().map(String::as_str));
                format!("endpoint `{endpoint}` has no function `{name}`{near}")
            }
            None => format!(
                "endpoint `{endpoint}` has several functions (`{}`): name one as \
                 {{\"input\": {{\"__flash\": {{\"function\": \"…\"}}, …}}}}",
                known.join("`, `")
            ),
        };
        Refusal::unprocessable(vec![flash_sdk::FieldError {
            path: "/input/__flash/function".into(),
            message,
        }])
    })
}

/// Checks an input against a function's schema.
///
/// # Errors
/// 422 naming every field that does not fit.
pub(super) fn check_input(release: &Release, function: usize, input: &RawValue) -> Result<(), Refusal> {
    let Ok(value) = serde_json::from_str(input.get()) else {
        return Err(Refusal::bad_request("the input is no JSON"));
    };
    match release.schemas.violations(function, &value) {
        fields if fields.is_empty() => Ok(()),
        fields => Err(Refusal::unprocessable(fields)),
    }
}

impl From<QueueFull> for Refusal {
    fn from(full: QueueFull) -> Self {
        Self::too_many(format!("the queue is full: {full}"))
    }
}

pub(super) async fn run(
    state: State<Platform>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Segments(endpoint): Segments<String>,
    body: Body,
) -> Result<Response, Refusal> {
    let release = live(&state)?;
    let queue = queue_of(&release, &endpoint)?;
    let body = read_body(body, MAX_RUN_BYTES).await?;
    let Checked { input, envelope, execution_timeout } = check(&release, &endpoint, &request_id, &body)?;
    let id = queue.submit(Submission { input, envelope, execution_timeout, waiter: None, sync: false })?;
    Ok(Json(Accepted { id: &id.to_string(), status: "IN_QUEUE" }).into_response())
}

pub(super) async fn runsync(
    state: State<Platform>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Segments(endpoint): Segments<String>,
    Parameters(Wait { wait }): Parameters<Wait>,
    body: Body,
) -> Result<Response, Refusal> {
    let release = live(&state)?;
    let queue = queue_of(&release, &endpoint)?;
    let body = read_body(body, MAX_RUNSYNC_BYTES).await?;
    let Checked { input, envelope, execution_timeout } = check(&release, &endpoint, &request_id, &body)?;
    let wait = Duration::from_millis(wait.unwrap_or(WAIT.1).clamp(WAIT.0, WAIT.2));
    let job = submit_and_wait(queue, input, envelope, execution_timeout, wait).await?;
    job_response(&job)
}

/// Submits a job and waits for its end; its state at that moment when the wait runs out.
pub(super) async fn submit_and_wait(
    queue: &Queue,
    input: RawJson,
    envelope: Envelope,
    execution_timeout: Option<Duration>,
    wait: Duration,
) -> Result<JobObject, Refusal> {
    let (end, ended) = oneshot::channel();
    let waiter = Some(Waiter::Client(end));
    let id = queue.submit(Submission { input, envelope, execution_timeout, waiter, sync: true })?;
    match tokio::time::timeout(wait, ended).await {
        Ok(Ok(job)) => Ok(job),
        _ => queue.status(&id).ok_or_else(|| Refusal::not_found(format!("job `{id}` is gone"))),
    }
}

pub(super) fn job_response(job: &JobObject) -> Result<Response, Refusal> {
    let text = serde_json::to_string(job).map_err(|error| Refusal::bad_request(error.to_string()))?;
    Ok(json_text(text))
}

pub(super) async fn status(
    State(platform): State<Platform>,
    Segments((endpoint, job)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    job_response(&with_job(&platform, &endpoint, &job, |queue, id| queue.status(id))?)
}

pub(super) async fn stream(
    State(platform): State<Platform>,
    Segments((endpoint, job)): Segments<(String, String)>,
    Parameters(Wait { wait }): Parameters<Wait>,
) -> Result<Response, Refusal> {
    let hold = wait.map_or(STREAM_HOLD, |wait| Duration::from_millis(wait.min(WAIT.1)));
    let id = JobId::from(job.as_str());
    // Found first, then held: a job does not move between queues.
    with_job(&platform, &endpoint, &job, |queue, id| queue.status(id))?;
    for release in platform.releases() {
        let Some(queue) = release.pool(&endpoint).and_then(|pool| pool.queue()) else { continue };
        if let Some(stream) = queue.stream(&id, hold).await {
            let mut text = format!("{{\"status\":\"{}\",\"stream\":[", stream.status.as_str());
            for (index, chunk) in stream.chunks.iter().enumerate() {
                let comma = if index > 0 { "," } else { "" };
                text.push_str(&format!("{comma}{{\"output\":{}}}", chunk.get()));
            }
            text.push_str("]}");
            return Ok(json_text(text));
        }
    }
    Err(Refusal::not_found(format!("job `{job}` is gone")))
}

fn changed(job: &str, outcome: Result<(), ChangeError>) -> Result<(), Refusal> {
    outcome.map_err(|error| Refusal::bad_request(format!("job `{job}`: {error}")))
}

/// `None` for a queue that does not know the job, so that the next one is asked.
fn if_known(outcome: Result<(), ChangeError>) -> Option<Result<(), ChangeError>> {
    (outcome != Err(ChangeError::Unknown)).then_some(outcome)
}

pub(super) async fn cancel(
    State(platform): State<Platform>,
    Segments((endpoint, job)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    let outcome = with_job(&platform, &endpoint, &job, |queue, id| if_known(queue.cancel(id)))?;
    if outcome == Err(ChangeError::Ended) {
        // Too late is no error: the answer is what the job became.
        return status(State(platform), Segments((endpoint, job))).await;
    }
    changed(&job, outcome)?;
    Ok(Json(Accepted { id: &job, status: "CANCELLED" }).into_response())
}

pub(super) async fn retry(
    State(platform): State<Platform>,
    Segments((endpoint, job)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    changed(&job, with_job(&platform, &endpoint, &job, |queue, id| if_known(queue.retry(id)))?)?;
    Ok(Json(Accepted { id: &job, status: "IN_QUEUE" }).into_response())
}

pub(super) async fn purge(
    state: State<Platform>,
    Segments(endpoint): Segments<String>,
) -> Result<Response, Refusal> {
    let release = live(&state)?;
    queue_of(&release, &endpoint)?;
    let State(platform) = state;
    let removed: usize = platform
        .releases()
        .iter()
        .filter_map(|release| release.pool(&endpoint)?.queue().map(Queue::purge))
        .sum();
    Ok(Json(json!({ "removed": removed, "status": "completed" })).into_response())
}

pub(super) async fn health(
    state: State<Platform>,
    Segments(endpoint): Segments<String>,
) -> Result<Response, Refusal> {
    let release = live(&state)?;
    let pool = pool_of(&release, &endpoint)?;
    let load = pool.load(std::time::Instant::now());
    let totals = pool.queue().map(Queue::totals).unwrap_or_default();
    let count = |phase| pool.phases().iter().filter(|own| **own == phase).count();
    let idle = load.takers.iter().filter(|(_, _, idle)| idle.is_some()).count();
    let body = json!({
        "jobs": {
            "completed": totals.completed,
            "failed": totals.failed,
            "inProgress": load.running,
            "inQueue": load.waiting,
            "retried": totals.retried,
        },
        "workers": {
            "idle": idle,
            "initializing": count(Phase::Starting),
            "ready": count(Phase::Ready),
            "running": load.takers.len() - idle,
            "throttled": 0,
            "unhealthy": usize::from(pool.is_unhealthy()),
        },
    });
    Ok(Json(body).into_response())
}

/// A path below `/v2/` that the API does not have.
pub(super) fn unknown(path: &str) -> Refusal {
    const OPERATIONS: [&str; 8] =
        ["run", "runsync", "status", "stream", "cancel", "retry", "purge-queue", "health"];
    let operation = path.split('/').nth(3).unwrap_or_default();
    let near = nearest(operation, OPERATIONS);
    Refusal::not_found(format!(
        "the queue API has no {path}{near}; it has /v2/ENDPOINT/{{{}}}",
        OPERATIONS.join(", ")
    ))
}
