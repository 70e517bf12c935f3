//! Jobs on an endpoint.
use std::time::{Duration, Instant};

use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{
        RawJson,
        identity::RequestId,
        job::{JobObject, JobStatus},
    },
};
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Endpoint, retry::Idempotency};
use crate::call::{http::POLL, located_at, output_of};

/// How long the server is asked to hold a request for chunks.
const STREAM_HOLD: Duration = Duration::from_secs(5);

/// A job that was submitted to an endpoint. Dropping it does not affect the job.
///
/// Results are kept for 30 minutes; on Runpod, those of `run_sync` for one minute. After that, and after the job's
/// time to live, all methods return [`ErrorKind::NotFound`].
#[derive(Debug, Clone)]
pub struct Job {
    endpoint: Endpoint,
    id: String,
    request_id: Option<RequestId>,
}

impl Job {
    pub(super) fn new(endpoint: Endpoint, id: String, request_id: Option<RequestId>) -> Self {
        Self { endpoint, id, request_id }
    }

    /// The job ID, as the endpoint knows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The request ID, for logs; `None` for a job that was created from its ID.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
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
        let object = self.endpoint.read(&self.path("status")).await;
        object.map_err(|error| self.located(error))
    }

    /// Waits until the job has ended and returns it. A failed job is not an error here.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] after [`Endpoint::timeout`]; otherwise see [`Job::status`].
    pub async fn wait(&self) -> Result<JobObject> {
        self.endpoint.patiently(self.ended()).await.map_err(|error| self.located(error))
    }

    /// Waits for the output of the job.
    ///
    /// # Errors
    /// The job's error; [`ErrorKind::Decode`] if the output is not an `O`; otherwise see [`Job::wait`].
    pub async fn output<O: DeserializeOwned>(&self) -> Result<O> {
        let output = output_of(self.wait().await?).map_err(|error| self.located(error))?;
        self.endpoint.decoded(&output)
    }

    /// The chunks of a streaming function as they are produced. If it fails, the error is the last item.
    ///
    /// Each chunk is delivered only once: two streams of the same job each get a part of the chunks.
    pub fn stream<O: DeserializeOwned + Send>(&self) -> impl Stream<Item = Result<O>> + Send + use<O> {
        let job = self.clone();
        self.raw_chunks().map(move |chunk| job.endpoint.decoded(&chunk?))
    }

    /// Asks the endpoint to cancel the job. A job that has ended is not changed.
    ///
    /// # Errors
    /// See [`Job::status`].
    pub async fn cancel(&self) -> Result<()> {
        // A second cancel has no effect.
        self.post("cancel", Idempotency::Idempotent).await
    }

    /// Puts a failed or timed-out job back into the queue, with the same ID and input.
    ///
    /// # Errors
    /// If the endpoint refuses; otherwise see [`Job::status`].
    pub async fn retry(&self) -> Result<()> {
        self.post("retry", Idempotency::NotIdempotent).await
    }

    async fn post(&self, operation: &str, idempotency: Idempotency) -> Result<()> {
        let url = format!("{}/{}", self.endpoint.address.queue, self.path(operation));
        let received = self.endpoint.send(idempotency, self.endpoint.request_timeout, || {
            self.endpoint.client.request(reqwest::Method::POST, url.clone())
        });
        let outcome = received.await.and_then(|received| received.success());
        outcome.map_err(|error| self.located(error))
    }

    /// Polls until the job has ended.
    pub(super) async fn ended(&self) -> Result<JobObject> {
        let mut pause = POLL.0;
        loop {
            let object = self.object().await?;
            if object.status.is_final() {
                return Ok(object);
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f32(1.5).min(POLL.1);
        }
    }

    fn raw_chunks(&self) -> BoxStream<'static, Result<RawJson>> {
        let polls = stream::unfold(Some(self.clone()), |state| async {
            let job = state?;
            match job.next_chunks().await {
                Ok((chunks, false)) => Some((chunks, Some(job))),
                Ok((chunks, true)) => Some((chunks, None)),
                Err(error) => Some((vec![Err(job.located(error))], None)),
            }
        });
        polls.flat_map(stream::iter).boxed()
    }

    /// The chunks so far, and whether they are the last.
    async fn next_chunks(&self) -> Result<(Vec<Result<RawJson>>, bool)> {
        #[derive(Deserialize)]
        struct Polled {
            status: JobStatus,
            #[serde(default)]
            stream: Vec<Chunk>,
        }
        #[derive(Deserialize)]
        struct Chunk {
            output: RawJson,
        }
        let began = Instant::now();
        let hold = STREAM_HOLD.as_millis();
        let url = format!("{}/{}?wait={hold}", self.endpoint.address.queue, self.path("stream"));
        // The endpoint drops chunks once it has sent them: an answer that is lost cannot be requested again.
        let received = self.endpoint.send(
            Idempotency::NotIdempotent,
            self.endpoint.request_timeout + STREAM_HOLD,
            || self.endpoint.client.request(reqwest::Method::GET, url.clone()),
        );
        let polled: Polled = received.await?.json()?;
        let ended = polled.status.is_final();
        let mut chunks: Vec<_> = polled.stream.into_iter().map(|chunk| Ok(chunk.output)).collect();
        if ended && polled.status != JobStatus::Completed {
            let failure = output_of(self.object().await?).err();
            chunks.extend(failure.map(|error| Err(self.located(error))));
        }
        // Avoids a busy loop if the endpoint does not hold the request.
        if !ended && chunks.is_empty() && began.elapsed() < POLL.0 {
            tokio::time::sleep(POLL.0).await;
        }
        Ok((chunks, ended))
    }

    fn path(&self, operation: &str) -> String {
        format!("{operation}/{}", crate::call::http::escaped(&self.id))
    }

    fn located(&self, error: Error) -> Error {
        let error = match error.kind() {
            ErrorKind::NotFound => error.context(format!("job `{}` is unknown or forgotten", self.id)),
            _ => error,
        };
        located_at(error, self.endpoint.stage(), self.request_id.clone())
    }
}
