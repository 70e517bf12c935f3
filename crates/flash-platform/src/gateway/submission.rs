//! Jobs on their way into a queue: their bodies while they arrive, their options, and clients that wait for their ends.
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use flash_protocol::wire::{RawJson, envelope::Envelope, job::JobObject};
use tokio::sync::oneshot;

use super::{body::read_allowed, error::Refusal};
use crate::queue::{Abandoned, Arriving, Budget, JobId, Origin, Queue, Submission, SubmitError, Waiter};

/// The options of a job in a request.
#[derive(Default)]
pub(super) struct JobOptions {
    pub execution_timeout: Option<Duration>,
    pub ttl: Option<Duration>,
    pub low_priority: bool,
    pub webhook: Option<String>,
    pub s3_config: Option<String>,
    pub idempotency_key: Option<String>,
}

/// A job with these options.
pub(super) fn submission(
    origin: Origin,
    input: RawJson,
    envelope: Envelope,
    options: JobOptions,
) -> Submission {
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

/// The body of a job. It counts like the job, because many slow uploads also use memory.
pub(super) struct Arrived {
    pub body: Bytes,
    _counted: Arriving,
}

impl Arrived {
    /// Reads one of up to `limit` bytes.
    ///
    /// # Errors
    /// 413 beyond it, 429 if jobs use too much memory, 400 for a body that ends early.
    pub(super) async fn read(budget: &Budget, body: Body, limit: usize) -> Result<Self, Refusal> {
        let mut counted = budget.arriving();
        let allow = |bytes| counted.grow_to(bytes).map_err(|full| SubmitError::from(full).into());
        let body = read_allowed(body, limit, allow).await?;
        Ok(Self { body, _counted: counted })
    }
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
pub(super) async fn submit_and_wait(
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
        let first = Arrived::read(&budget, body(600), 2000).await.unwrap();
        assert_eq!((first.body.len(), budget.held()), (600, 600));
        let refused = Arrived::read(&budget, body(600), 2000).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(refused.message().starts_with("the queue is full: the jobs of this environment use"));
        assert_eq!(budget.held(), 600, "what was read of it is let go");
        let refused = Arrived::read(&budget, body(300), 200).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        drop(first);
        assert!(Arrived::read(&budget, body(1000), 2000).await.is_ok());
        assert_eq!(budget.held(), 0);
    }
}
