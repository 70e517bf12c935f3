//! The provider's worker API, for workers that poll: other programs, and Flash workers without the exchange.
use std::{sync::Arc, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use flash_protocol::{
    ErrorKind, WireError,
    wire::{
        Nesting, RawJson, envelope,
        job::{ErrorText, JobStatus, PostedResult},
    },
};
use flash_text::Truncated;
use http::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    body::read_body,
    error::Refusal,
    extract::{Parameters, Segments},
    limits::MAX_RUNSYNC_BYTES,
    nesting,
    state::GatewayState,
    worker_key::{admit, key_in},
};
use crate::{
    large_input::work_on,
    pool::Pool,
    queue::{DeliveryMode, JobId, LeasedJob, Offered, Outcome, Queue, Reported},
    releases::Releases,
    worker_id::WorkerId,
};

/// How long polls are held, and chunks without room: less than the 60 and 90 s after which workers give up.
const HOLD: Duration = Duration::from_secs(30);

/// Largest result.
const MAX_RESULT_BYTES: usize = MAX_RUNSYNC_BYTES + 1_000_000;

/// How the official worker's progress begins.
const PROGRESS: &[u8] = b"{\"status\": \"IN_PROGRESS\"";

/// How a polling worker reports that it runs nothing.
const RUNS_NOTHING: &str = "job_in_progress=0";

/// Like [`admit`], for the result of a job. A result of a worker that has ended is logged, and refused with a status
/// that ends its retries.
fn admit_result(
    releases: &Releases,
    endpoint: &str,
    worker: &WorkerId,
    job: JobId,
    headers: &HeaderMap,
) -> Result<Arc<Pool>, Refusal> {
    admit(releases, endpoint, worker, headers).map_err(|refusal| {
        let pools = releases.worker_pools(endpoint);
        match pools.iter().find(|pool| pool.remembers(worker, key_in(headers))) {
            Some(pool) => {
                pool.say_late(worker, job, None);
                runs_elsewhere(worker, job)
            }
            None => refusal,
        }
    })
}

fn runs_elsewhere(worker: &WorkerId, job: JobId) -> Refusal {
    Refusal::not_found(format!("job `{job}` is not running on worker `{}`", Truncated(worker)))
}

/// Whether a poll reports that its worker runs nothing. If the URL has no query, the report is in the path.
fn runs_nothing(uri: &Uri) -> bool {
    uri.path().contains(RUNS_NOTHING) || uri.query().is_some_and(|query| query.contains(RUNS_NOTHING))
}

#[derive(Deserialize)]
pub(super) struct Batch {
    batch_size: Option<u32>,
}

/// The content of a heartbeat.
#[derive(Deserialize)]
pub(super) struct Ping {
    /// `unhealthy` when a check at its start failed.
    status: Option<String>,
    check: Option<String>,
    reason: Option<String>,
}

/// Some workers append `&job_in_progress=0` to a URL without a query: it ends up in the path.
fn worker_in(path: &str) -> WorkerId {
    path.split('&').next().unwrap_or(path).into()
}

pub(super) async fn take(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, worker)): Segments<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (pool, mut jobs) = taken(&state.releases, &endpoint, &worker, &uri, &headers, 1).await?;
    match jobs.pop() {
        Some(job) => Ok(Json(job_for_polling(&pool, &job)).into_response()),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

pub(super) async fn take_batch(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, worker)): Segments<(String, String)>,
    Parameters(Batch { batch_size }): Parameters<Batch>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (pool, jobs) =
        taken(&state.releases, &endpoint, &worker, &uri, &headers, batch_size.unwrap_or(1)).await?;
    if jobs.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let jobs: Vec<_> = jobs.iter().map(|job| job_for_polling(&pool, job)).collect();
    Ok(Json(jobs).into_response())
}

async fn taken(
    releases: &Releases,
    endpoint: &str,
    worker: &str,
    uri: &Uri,
    headers: &HeaderMap,
    wanted: u32,
) -> Result<(Arc<Pool>, Vec<LeasedJob>), Refusal> {
    let worker = worker_in(worker);
    let pool = admit(releases, endpoint, &worker, headers)?;
    // The first poll means that the worker is ready.
    pool.ready_for_jobs(&worker, DeliveryMode::Polling, wanted);
    let queue = queue_of(&pool)?;
    if runs_nothing(uri) {
        queue.runs_nothing(&worker);
    }
    let jobs = queue.take(&worker, wanted, HOLD).await;
    Ok((pool, jobs))
}

fn queue_of(pool: &Pool) -> Result<&Arc<Queue>, Refusal> {
    pool.queue().ok_or_else(|| Refusal::bad_request("a load-balanced worker does not take jobs"))
}

/// A job in the format of the provider's platform.
#[derive(Serialize)]
struct PolledJob {
    id: String,
    input: RawJson,
    #[serde(rename = "s3Config", skip_serializing_if = "Option::is_none")]
    s3_config: Option<RawJson>,
}

/// A Flash worker gets the envelope inside the input; a command gets the client's input unchanged.
fn job_for_polling(pool: &Pool, job: &LeasedJob) -> PolledJob {
    let input = match pool.command() {
        Some(_) => job.input.to_json().into_owned(),
        None => envelope::seal(&job.envelope, &job.input.to_json()),
    };
    let config = job.s3_config.clone();
    let s3_config = config.and_then(|config| serde_json::value::RawValue::from_string(config).ok());
    PolledJob { id: job.id.to_string(), input, s3_config }
}

pub(super) async fn stops(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, worker)): Segments<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let worker = worker_in(&worker);
    let pool = admit(&state.releases, &endpoint, &worker, &headers)?;
    let stopped = queue_of(&pool)?.stops(&worker, HOLD).await;
    if stopped.is_empty() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let ids: Vec<String> = stopped.iter().map(ToString::to_string).collect();
    Ok(Json(json!({ "jobsToStop": ids })).into_response())
}

/// Parsed as JSON regardless of the content type, because the official worker sends it as form data.
async fn posted(body: Body) -> Result<PostedResult, Unusable> {
    let body = read_body(body, MAX_RESULT_BYTES).await.map_err(|refusal| {
        let message = format!("the result is over {} MB", MAX_RESULT_BYTES / 1_000_000);
        let error = (refusal.status() == StatusCode::PAYLOAD_TOO_LARGE).then_some(NoResult(message));
        Unusable { refusal, error }
    })?;
    work_on(body.len(), || parse_posted(&body)).map_err(|malformed| malformed.of(&body))
}

fn parse_posted(body: &[u8]) -> Result<PostedResult, Malformed> {
    if Nesting::of(body).is_too_deep_within(1) {
        return Err(Malformed::TooDeep);
    }
    serde_json::from_slice(body).map_err(Malformed::NotJson)
}

/// Why a body is not a result.
enum Malformed {
    TooDeep,
    /// Python writes NaN and Infinity, which are not valid JSON.
    NotJson(serde_json::Error),
}

impl Malformed {
    fn of(self, body: &[u8]) -> Unusable {
        let (refusal, message) = match self {
            Self::TooDeep => (nesting::too_deep(), nesting::unreadable("result")),
            Self::NotJson(error) => {
                let message = format!("the result is not valid JSON: {error}");
                (Refusal::bad_request(message.clone()), message)
            }
        };
        Unusable { refusal, error: (!body.starts_with(PROGRESS)).then_some(NoResult(message)) }
    }
}

/// The posted data is not valid.
struct Unusable {
    refusal: Refusal,
    /// The final error of the job; `None` if the worker retries or continues with the job.
    error: Option<NoResult>,
}

/// Why there is no result, as a message for the client.
struct NoResult(String);

impl NoResult {
    fn of_worker(self, worker: &WorkerId) -> String {
        let mut error = WireError::new(ErrorKind::Handler, self.0);
        error.worker_id = Some(worker.to_string());
        ErrorText::of(&error, "platform").to_text()
    }
}

pub(super) async fn done(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, worker, job)): Segments<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let worker = worker_in(&worker);
    let job = job_in(&job)?;
    let pool = admit_result(&state.releases, &endpoint, &worker, job, &headers)?;
    let queue = queue_of(&pool)?;
    let posted = match posted(body).await {
        Ok(posted) => posted,
        Err(Unusable { refusal, error }) => {
            // Workers do not resend a refused result, so the job must end here.
            if let Some(error) = error {
                queue.finish(&worker, job, None, Outcome::Failed(error.of_worker(&worker)), None);
            }
            return Err(refusal);
        }
    };
    if posted.status == Some(JobStatus::InProgress) {
        queue.progress(&worker, job, posted.output.unwrap_or_else(flash_protocol::wire::null));
        return Ok(StatusCode::OK.into_response());
    }
    pool.work_ends(&worker);
    let error = match posted.error {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(text)) => Some(text).filter(|text| !text.is_empty()),
        Some(other) => Some(other.to_string()),
    };
    let outcome = match (error, posted.output) {
        (None, output) => Outcome::Completed(output.unwrap_or_else(flash_protocol::wire::null).into()),
        (Some(error), None) => Outcome::Failed(error),
        (Some(error), Some(output)) => Outcome::FailedWith(error, output),
    };
    let reported = queue.finish(&worker, job, None, outcome, None);
    if posted.stop_pod {
        pool.replace(&worker);
    }
    pool.job_ended(&worker);
    match reported {
        Reported::Accepted => {
            if let Some(pulse) = pool.pulse(&worker) {
                pool.served(&pulse);
            }
            return Ok(StatusCode::OK.into_response());
        }
        Reported::Released => {}
        Reported::Late => pool.say_late(&worker, job, None),
    }
    Err(runs_elsewhere(&worker, job))
}

pub(super) async fn chunk(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, worker, job)): Segments<(String, String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refusal> {
    let worker = worker_in(&worker);
    let pool = admit(&state.releases, &endpoint, &worker, &headers)?;
    let posted = posted(body).await.map_err(|unusable| unusable.refusal)?;
    let output = posted.output.unwrap_or_else(flash_protocol::wire::null);
    match queue_of(&pool)?.offer_chunk(&worker, job_in(&job)?, output.into(), HOLD).await {
        // If the job does not run here, it has ended or runs elsewhere, and the chunk is not needed.
        Offered::Taken | Offered::NotRunning => Ok(StatusCode::OK),
        Offered::Refused => {
            let message = "too many chunks are waiting to be fetched: this chunk and later chunks of the job \
                           are refused; return all of them in the result";
            Err(Refusal::too_many(message))
        }
    }
}

fn job_in(path: &str) -> Result<JobId, Refusal> {
    let id = path.split('&').next().unwrap_or(path);
    JobId::parse(id).ok_or_else(|| Refusal::not_found(format!("no job `{}`", Truncated(id))))
}

pub(super) async fn ping(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, worker)): Segments<(String, String)>,
    Parameters(Ping { status, check, reason }): Parameters<Ping>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let worker = worker_in(&worker);
    let pool = admit(&state.releases, &endpoint, &worker, &headers)?;
    pool.pinged(&worker);
    if status.as_deref() == Some("unhealthy") {
        pool.say_unhealthy(&worker, &check.unwrap_or_default(), &reason.unwrap_or_default());
    }
    Ok(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_that_nobody_decodes_ends_its_job_and_progress_does_not() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        let result = |levels| posted(Body::from(format!("{{\"output\": {}}}", nested(levels))));
        assert!(result(127).await.is_ok());
        let Err(Unusable { refusal, error }) = result(128).await else { panic!("it was taken") };
        assert_eq!(refusal.status(), StatusCode::BAD_REQUEST);
        assert!(error.unwrap().0.contains("nested too deeply"));
        let progress = format!("{{\"status\": \"IN_PROGRESS\", \"output\": {}}}", nested(128));
        let Err(Unusable { error, .. }) = posted(Body::from(progress)).await else { panic!("it was taken") };
        assert!(error.is_none());
    }
}
