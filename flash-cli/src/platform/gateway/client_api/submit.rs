//! `run` and `runsync`.
use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use flash_sdk::wire::{RawJson, envelope::Envelope, job::JobObject};
use http::HeaderMap;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{
    super::{
        error::Refusal,
        server::{Parameters, RequestId, Segments, live, read_body, trace_parent},
    },
    Brief, MAX_RUN_BYTES, MAX_RUNSYNC_BYTES, Wait,
    check::{Checked, check},
    job_response, queue_of, queues_of,
};
use crate::platform::{
    Platform,
    queue::{Abandoned, Idempotency, JobId, Origin, Queue, Submission, Submitted, Waiter},
};

/// The header with a client's own name for a job.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Says that the key was known: the job is that of the first request.
const REPLAYED: &str = "idempotent-replayed";
const MAX_KEY_BYTES: usize = 255;

/// What a client may say of a job beside its input.
#[derive(Default)]
pub(in super::super) struct JobOptions {
    pub execution_timeout: Option<Duration>,
    pub ttl: Option<Duration>,
    pub low_priority: bool,
    pub webhook: Option<String>,
    pub s3_config: Option<String>,
    pub idempotency_key: Option<String>,
}

fn submission(origin: Origin, input: RawJson, envelope: Envelope, options: JobOptions) -> Submission {
    let JobOptions { execution_timeout, ttl, low_priority, webhook, s3_config, idempotency_key } = options;
    Submission {
        execution_timeout,
        ttl,
        low_priority,
        webhook,
        idempotency_key,
        s3_config,
        ..Submission::new(origin, input, envelope)
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let visible = |key: &&str| {
        (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match key.to_str().ok().filter(visible) {
        Some(key) => Ok(Some(key.to_owned())),
        None => Err(Refusal::bad_request(format!(
            "the header Idempotency-Key is 1 to {MAX_KEY_BYTES} visible ASCII characters"
        ))),
    }
}

pub(super) async fn run(
    state: State<Platform>,
    Extension(request_id): Extension<RequestId>,
    Segments(endpoint): Segments<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    queue_of(live(&state)?.as_ref(), &endpoint)?;
    let key = idempotency_key(&headers)?;
    let body = read_body(body, MAX_RUN_BYTES).await?;
    // Anew: a slow body may outlive its release.
    let release = live(&state)?;
    let mut queue = queue_of(&release, &endpoint)?.clone();
    let Checked { input, envelope, options } =
        check(&release, &endpoint, request_id, trace_parent(&headers), &body)?;
    let known = match &key {
        Some(key) => known_before(&state, &endpoint, key, &envelope, &input)?,
        None => None,
    };
    let submitted = match known {
        Some((old, submitted)) => {
            queue = old;
            submitted
        }
        None => {
            let options = JobOptions { idempotency_key: key, ..options };
            queue.submit(submission(Origin::Run, input, envelope, options))?
        }
    };
    queue.stored(&submitted).await?;
    let id = submitted.id.to_string();
    if submitted.idempotency == Idempotency::New {
        return Ok(Json(Brief { id: &id, status: "IN_QUEUE" }).into_response());
    }
    // Nothing is there only if its time was over in this moment.
    let status = queue.status(submitted.id).await?.map_or("IN_QUEUE", |job| job.status.as_str());
    Ok(([(REPLAYED, "true")], Json(Brief { id: &id, status })).into_response())
}

/// The job that a key names in a release that was replaced and has not ended.
fn known_before(
    platform: &Platform,
    endpoint: &str,
    key: &str,
    envelope: &Envelope,
    input: &RawValue,
) -> Result<Option<(Arc<Queue>, Submitted)>, Refusal> {
    for queue in queues_of(platform, endpoint)?.into_iter().skip(1) {
        if let Some(known) = queue.known_by_key(key, envelope.function.as_deref(), input.get())? {
            return Ok(Some((queue, known)));
        }
    }
    Ok(None)
}

pub(super) async fn runsync(
    state: State<Platform>,
    Extension(request_id): Extension<RequestId>,
    Segments(endpoint): Segments<String>,
    Parameters(wait): Parameters<Wait>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    queue_of(live(&state)?.as_ref(), &endpoint)?;
    if headers.contains_key(IDEMPOTENCY_KEY) {
        return Err(Refusal::bad_request("the header Idempotency-Key is for run: use run, then status-sync"));
    }
    let body = read_body(body, MAX_RUNSYNC_BYTES).await?;
    let release = live(&state)?;
    let queue = queue_of(&release, &endpoint)?;
    let Checked { input, envelope, options } =
        check(&release, &endpoint, request_id, trace_parent(&headers), &body)?;
    let job = submit_and_wait(queue, input, envelope, options, wait.bounded(), Abandoned::RunsOn).await?;
    job_response(&job)
}

/// A client that waits for a job, and does not know its id yet.
struct Waiting<'a> {
    queue: &'a Queue,
    job: JobId,
    abandoned: Abandoned,
}

impl Waiting<'_> {
    /// From here on the client knows the id.
    fn told(self) {
        std::mem::forget(self);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.abandon(self.job, self.abandoned);
    }
}

/// Submits a job and waits for its end; its state at that moment when the wait runs out, from when on it is
/// durable. Where the client goes away meanwhile, which drops this future, the job is `abandoned`.
pub(in super::super) async fn submit_and_wait(
    queue: &Queue,
    input: RawJson,
    envelope: Envelope,
    options: JobOptions,
    wait: Duration,
    abandoned: Abandoned,
) -> Result<JobObject, Refusal> {
    let (end, ended) = oneshot::channel();
    let submission = Submission {
        waiter: Some(Waiter::Client(end)),
        ..submission(Origin::RunSync, input, envelope, options)
    };
    let id = queue.submit(submission)?.id;
    let waiting = Waiting { queue, job: id, abandoned };
    let job = match tokio::time::timeout(wait, ended).await {
        Ok(Ok(job)) => Some(job),
        _ => {
            queue.keep(id).await?;
            queue.status(id).await?
        }
    };
    waiting.told();
    job.ok_or_else(|| Refusal::not_found(format!("job `{id}` is gone")))
}
