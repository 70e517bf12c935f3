//! `run` and `runsync`.
use std::time::Duration;

use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flash_protocol::wire::{RawJson, envelope::Envelope, job::JobObject};
use http::HeaderMap;
use tokio::sync::oneshot;

use super::{
    super::{
        coding::check_coding,
        error::Refusal,
        server::{Parameters, RequestId, Segments, live, read_allowed, trace_parent},
    },
    JobSummary, MAX_RUN_BYTES, MAX_RUNSYNC_BYTES, Wait,
    check::{Checked, check},
    job_response, queue_of, queue_with,
};
use crate::{
    Platform,
    queue::{
        Abandoned, Arriving, Budget, Idempotency, JobId, Origin, Queue, Submission, SubmitError, Waiter,
    },
};

/// The header with a client's idempotency key.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that reports a known key: the job is that of the first request.
const REPLAYED: &str = "idempotent-replayed";
const MAX_KEY_BYTES: usize = 255;

/// The options of a job in a request.
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
            "the header Idempotency-Key must be 1 to {MAX_KEY_BYTES} visible ASCII characters"
        ))),
    }
}

/// The body of a job. It counts like the job, because many slow uploads also use memory.
pub(in super::super) struct Arrived {
    pub body: Bytes,
    _counted: Arriving,
}

impl Arrived {
    /// Reads one of up to `limit` bytes.
    ///
    /// # Errors
    /// 413 beyond it, 429 if jobs use too much memory, 400 for a body that ends early.
    pub(in super::super) async fn read(
        platform: &Platform,
        body: Body,
        limit: usize,
    ) -> Result<Self, Refusal> {
        Self::read_within(&platform.shared.context.queues.budget, body, limit).await
    }

    async fn read_within(budget: &Budget, body: Body, limit: usize) -> Result<Self, Refusal> {
        let mut counted = budget.arriving();
        let allow = |bytes| counted.grow_to(bytes).map_err(|full| SubmitError::from(full).into());
        let body = read_allowed(body, limit, allow).await?;
        Ok(Self { body, _counted: counted })
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
    check_coding(&headers)?;
    let arrived = Arrived::read(&state, body, MAX_RUN_BYTES).await?;
    // Read again, because a slow body may outlive its release.
    let release = live(&state)?;
    let queue = queue_of(&release, &endpoint)?;
    let Checked { input, envelope, options } =
        check(&release, &endpoint, request_id, trace_parent(&headers), &arrived.body)?;
    drop(arrived);
    let options = JobOptions { idempotency_key: key, ..options };
    let submitted = queue.submit(submission(Origin::Run, input, envelope, options))?;
    queue.stored(&submitted).await?;
    let id = submitted.id.to_string();
    if submitted.idempotency == Idempotency::New {
        return Ok(Json(JobSummary { id: &id, status: "IN_QUEUE" }).into_response());
    }
    // It may be in another release. No release has it only if it expired at this moment, or if it waits for its
    // release to be restored.
    let status = match queue_with(&state, &endpoint, &id) {
        Ok((queue, job)) => queue.status(job).await?.map_or("IN_QUEUE", |job| job.status.as_str()),
        Err(_) => "IN_QUEUE",
    };
    Ok(([(REPLAYED, "true")], Json(JobSummary { id: &id, status })).into_response())
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
        return Err(Refusal::bad_request(
            "the header Idempotency-Key works only with run: use run, then status-sync",
        ));
    }
    check_coding(&headers)?;
    let arrived = Arrived::read(&state, body, MAX_RUNSYNC_BYTES).await?;
    let release = live(&state)?;
    let queue = queue_of(&release, &endpoint)?;
    let Checked { input, envelope, options } =
        check(&release, &endpoint, request_id, trace_parent(&headers), &arrived.body)?;
    drop(arrived);
    let job = submit_and_wait(queue, input, envelope, options, wait.bounded(), Abandoned::RunsOn).await?;
    job_response(&job)
}

/// A client that waits for a job and does not know its ID yet.
struct Waiting<'a> {
    queue: &'a Queue,
    job: JobId,
    abandoned: Abandoned,
}

impl Waiting<'_> {
    /// From now on the client knows the ID.
    fn disarm(self) {
        std::mem::forget(self);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.queue.abandon(self.job, self.abandoned);
    }
}

/// Submits a job and waits for its end. If the wait times out, it returns the current state, and the job is durable
/// from then on. If the client disconnects, this future is dropped and the job is `abandoned`.
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
    waiting.disarm();
    job.ok_or_else(|| Refusal::not_found(format!("job `{id}` is gone")))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn body(length: usize) -> Body {
        let pieces = std::iter::repeat_n(
            Ok::<_, std::convert::Infallible>(Bytes::from(vec![b'x'; 100])),
            length / 100,
        );
        Body::from_stream(futures_util::stream::iter(pieces))
    }

    #[tokio::test]
    async fn a_body_for_which_jobs_leave_no_room_is_429_and_one_over_the_limit_413() {
        let budget = Budget::of(1000);
        let first = Arrived::read_within(&budget, body(600), 2000).await.unwrap();
        assert_eq!((first.body.len(), budget.held()), (600, 600));
        let refused = Arrived::read_within(&budget, body(600), 2000).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.message().starts_with("the queue is full: the jobs of this environment use"));
        assert_eq!(budget.held(), 600, "what was read of it is let go");
        let refused = Arrived::read_within(&budget, body(300), 200).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        drop(first);
        assert!(Arrived::read_within(&budget, body(1000), 2000).await.is_ok());
        assert_eq!(budget.held(), 0);
    }
}
