//! A job on an endpoint.
use std::time::{Duration, Instant};

use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};
use serde::{Deserialize, de::DeserializeOwned};

use super::{Endpoint, retry::Repeat};
use crate::{
    Error, ErrorKind, Result,
    call::{http::POLL, located_at, output_of},
    wire::{
        RawJson,
        identity::RequestId,
        job::{JobObject, JobStatus},
    },
};

/// How long a call for chunks is asked to be held.
const STREAM_HOLD: Duration = Duration::from_secs(5);

/// A job that an endpoint has taken. Dropping it leaves the job alone.
///
/// Results are kept for 30 minutes, on Runpod those of `run_sync` for one; after that, and after the job's time to
/// live, everything here is [`ErrorKind::NotFound`].
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

    /// Its id, as the endpoint knows it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The request that it belongs to, for logs; unknown of a job that was found by its id.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Where it is in its life.
    ///
    /// # Errors
    /// When the endpoint cannot be reached or does not know it any more.
    pub async fn status(&self) -> Result<JobStatus> {
        Ok(self.object().await?.status)
    }

    /// All that the endpoint tells of it: times, worker, attempts, output or progress.
    ///
    /// # Errors
    /// As [`Job::status`].
    pub async fn object(&self) -> Result<JobObject> {
        let object = self.endpoint.read(&self.path("status")).await;
        object.map_err(|error| self.located(error))
    }

    /// Waits for its end, and says how it ended: a failed job is no error here.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] after [`Endpoint::timeout`]; else as [`Job::status`].
    pub async fn wait(&self) -> Result<JobObject> {
        self.endpoint.patiently(self.ended()).await.map_err(|error| self.located(error))
    }

    /// Waits for its output.
    ///
    /// # Errors
    /// What it fails with; [`ErrorKind::Decode`] for an output that is no `O`; else as [`Job::wait`].
    pub async fn output<O: DeserializeOwned>(&self) -> Result<O> {
        let output = output_of(self.wait().await?).map_err(|error| self.located(error))?;
        self.endpoint.decoded(&output)
    }

    /// The chunks of a function that streams, as they come. What it fails with is the last item.
    ///
    /// Each chunk is given out once: of two streams of one job, each gets a part.
    pub fn stream<O: DeserializeOwned + Send>(&self) -> impl Stream<Item = Result<O>> + Send + use<O> {
        let job = self.clone();
        self.raw_chunks().map(move |chunk| job.endpoint.decoded(&chunk?))
    }

    /// Asks to cancel it. One that has ended stays as it is.
    ///
    /// # Errors
    /// As [`Job::status`].
    pub async fn cancel(&self) -> Result<()> {
        // A second cancel changes nothing.
        self.post("cancel", Repeat::Harmless).await
    }

    /// Puts it back into the queue, with its id and input: for one that failed or ran out of time.
    ///
    /// # Errors
    /// When the endpoint refuses; else as [`Job::status`].
    pub async fn retry(&self) -> Result<()> {
        self.post("retry", Repeat::Twice).await
    }

    async fn post(&self, operation: &str, repeat: Repeat) -> Result<()> {
        let url = format!("{}/{}", self.endpoint.address.queue, self.path(operation));
        let received = self.endpoint.send(repeat, self.endpoint.request_timeout, || {
            self.endpoint.client.request(reqwest::Method::POST, url.clone())
        });
        let outcome = received.await.and_then(|received| received.success());
        outcome.map_err(|error| self.located(error))
    }

    /// Polls until it has ended.
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

    /// The chunks that are there, and whether they are the last.
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
        // What an answer brings is gone from the endpoint: one that is lost on its way cannot be had again.
        let received = self.endpoint.send(Repeat::Twice, self.endpoint.request_timeout + STREAM_HOLD, || {
            self.endpoint.client.request(reqwest::Method::GET, url.clone())
        });
        let polled: Polled = received.await?.json()?;
        let ended = polled.status.is_final();
        let mut chunks: Vec<_> = polled.stream.into_iter().map(|chunk| Ok(chunk.output)).collect();
        if ended && polled.status != JobStatus::Completed {
            let failure = output_of(self.object().await?).err();
            chunks.extend(failure.map(|error| Err(self.located(error))));
        }
        // An endpoint that does not hold the call would otherwise be asked in a hot loop.
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
