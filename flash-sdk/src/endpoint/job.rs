//! Jobs on an endpoint.
use std::time::Duration;

use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{
        RawJson,
        job::{JobObject, JobStatus},
    },
};
use futures_util::{Stream, StreamExt as _};
use serde::de::DeserializeOwned;

use crate::{deadline::within_current_call, json, located::located, queue_client::RemoteJob};

/// A job that was submitted to an endpoint. Dropping it, or the future of a method, does not affect the job.
///
/// It is a [`JobHandle`](crate::JobHandle) whose result type is not known: the methods that both have do the same.
///
/// Results are kept for 30 minutes; on Runpod, those of `run_sync` for one minute. After that, and after the job's
/// time to live, all methods return [`ErrorKind::NotFound`].
#[derive(Debug, Clone)]
pub struct Job {
    job: RemoteJob,
    /// The longest wait for its end.
    timeout: Option<Duration>,
}

impl Job {
    pub(super) fn new(job: RemoteJob, timeout: Option<Duration>) -> Self {
        Self { job, timeout }
    }

    /// The job ID, as the endpoint knows it.
    pub fn id(&self) -> &str {
        &self.job.id
    }

    /// The request ID, for logs; `None` for a job that was created from its ID.
    pub fn request_id(&self) -> Option<&str> {
        self.job.request_id.as_deref()
    }

    /// The current status of the job.
    ///
    /// # Errors
    /// If the endpoint cannot be reached or no longer knows the job.
    pub async fn status(&self) -> Result<JobStatus> {
        Ok(self.object().await?.status)
    }

    /// Everything that the endpoint reports about the job: times, worker, attempts, output or progress.
    ///
    /// # Errors
    /// See [`Job::status`].
    pub async fn object(&self) -> Result<JobObject> {
        self.job.object().await
    }

    /// Waits for the output of the job, at most until the deadline of the current call. Then the job goes on.
    ///
    /// # Errors
    /// The job's error in any other final state; [`ErrorKind::Decode`] if the output is not an `O`;
    /// [`ErrorKind::Timeout`] after [`Endpoint::timeout`](super::Endpoint::timeout); otherwise see [`Job::status`].
    pub async fn wait<O: DeserializeOwned>(&self) -> Result<O> {
        decoded(&self.within_timeout(self.job.output()).await?, &self.job.stage)
    }

    /// Waits like [`Job::wait`] until the job has ended, and returns everything that the endpoint reports about it. A
    /// failed job is not an error here.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] after [`Endpoint::timeout`](super::Endpoint::timeout); otherwise see [`Job::status`].
    pub async fn ended(&self) -> Result<JobObject> {
        self.within_timeout(self.job.ended()).await
    }

    async fn within_timeout<T>(&self, waiting: impl Future<Output = Result<T>>) -> Result<T> {
        let outcome = within_timeout(self.timeout, waiting).await;
        outcome.map_err(|error| located(error, self.job.stage.clone(), self.job.request_id.clone()))
    }

    /// The chunks of a streaming function as they are produced. If it fails, the error is the last item.
    ///
    /// Each chunk is delivered only once: two streams of the same job each get a part of the chunks.
    pub fn stream<O: DeserializeOwned + Send>(&self) -> impl Stream<Item = Result<O>> + Send + use<O> {
        let stage = self.job.stage.clone();
        self.job.clone().chunks().map(move |chunk| decoded(&chunk?, &stage))
    }

    /// Asks the endpoint to cancel the job. A job that has ended is not changed.
    ///
    /// # Errors
    /// See [`Job::status`].
    pub async fn cancel(&self) -> Result<()> {
        self.job.cancel().await
    }

    /// Puts a failed or timed-out job back into the queue, with the same ID and input.
    ///
    /// # Errors
    /// If the endpoint refuses; otherwise see [`Job::status`].
    pub async fn retry(&self) -> Result<()> {
        self.job.retry().await
    }
}

/// Waits at most for this time, and until the current call's deadline.
pub(super) async fn within_timeout<T>(
    limit: Option<Duration>,
    waiting: impl Future<Output = Result<T>>,
) -> Result<T> {
    let waiting = within_current_call(waiting);
    let Some(limit) = limit else { return waiting.await };
    tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| {
        let message =
            format!("no result within {} s; the job keeps running if it has started", limit.as_secs_f64());
        Err(Error::new(ErrorKind::Timeout, message))
    })
}

/// The output, or one chunk of it. `stage` names it in the error.
pub(super) fn decoded<O: DeserializeOwned>(output: &RawJson, stage: &str) -> Result<O> {
    json::decode(output, || format!("the output of `{stage}` does not match the expected type"))
}
