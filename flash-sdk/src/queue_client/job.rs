//! A job that was submitted, and waiting for its end.
use std::{
    fmt,
    time::{Duration, Instant},
};

use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{
        RawJson,
        identity::RequestId,
        job::{JobChunks, JobObject, JobStatus},
        retry::Idempotency,
    },
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use reqwest::Method;

use super::client::QueueClient;
use crate::{
    deadline::within_current_call,
    http_client::{Attempt, attempt, escaped},
    located::located,
};

/// Between polls of a job's status, growing from the first to the second.
const POLL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// How long the server is asked to hold a request for chunks.
const STREAM_HOLD: Duration = Duration::from_secs(5);

/// A job on an endpoint. Dropping it, or a future of it, does not affect the job. Its errors name `stage` and the
/// request.
#[derive(Clone)]
pub(crate) struct RemoteJob {
    pub queue: QueueClient,
    pub id: String,
    /// What errors name: the function, or the endpoint.
    pub stage: String,
    /// `None` for a job that was found by its ID.
    pub request_id: Option<RequestId>,
}

impl fmt::Debug for RemoteJob {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").field("id", &self.id).field("url", &self.queue.url).finish_non_exhaustive()
    }
}

impl RemoteJob {
    /// The job as the endpoint knows it now.
    ///
    /// # Errors
    /// If the endpoint cannot be reached or no longer knows the job.
    pub(crate) async fn object(&self) -> Result<JobObject> {
        self.queue.read(&self.path("status")).await.map_err(|error| self.not_reached(error))
    }

    /// Polls until the job has ended in any state, at most until the deadline of the current call. Then the job goes on.
    ///
    /// # Errors
    /// If the endpoint cannot be reached or no longer knows the job.
    pub(crate) async fn ended(&self) -> Result<JobObject> {
        within_current_call(self.polled()).await.map_err(|error| self.not_reached(error))
    }

    /// Waits like [`RemoteJob::ended`] and returns the output.
    ///
    /// # Errors
    /// Those of [`RemoteJob::ended`], and the failure of the job.
    pub(crate) async fn output(&self) -> Result<RawJson> {
        self.ended().await?.into_output().map_err(|error| self.located(error))
    }

    async fn polled(&self) -> Result<JobObject> {
        let (path, lost_polls) = (self.path("status"), self.queue.retry_policy.lost_polls);
        let (mut pause, mut tried) = (POLL.0, 1);
        loop {
            let request = self.queue.request(Method::GET, &path, Duration::ZERO);
            match attempt(request, Idempotency::Idempotent, tried, lost_polls).await {
                Attempt::Ended(outcome) => {
                    let job: JobObject = outcome?.json()?;
                    if job.status.is_final() {
                        return Ok(job);
                    }
                    tried = 1;
                    tokio::time::sleep(pause).await;
                }
                Attempt::Again(asked) => {
                    tried += 1;
                    tokio::time::sleep(pause.max(asked)).await;
                }
            }
            pause = pause.mul_f32(1.5).min(POLL.1);
        }
    }

    /// Cancels the job. A job that has ended is not changed.
    ///
    /// # Errors
    /// If the endpoint cannot be reached or no longer knows the job.
    pub(crate) async fn cancel(&self) -> Result<()> {
        // A second cancel has no effect.
        self.post("cancel", Idempotency::Idempotent).await
    }

    /// Puts a failed or timed-out job back into the queue.
    ///
    /// # Errors
    /// If the endpoint refuses, cannot be reached or no longer knows the job.
    pub(crate) async fn retry(&self) -> Result<()> {
        self.post("retry", Idempotency::NotIdempotent).await
    }

    async fn post(&self, operation: &str, idempotency: Idempotency) -> Result<()> {
        let received = self.queue.post(&self.path(operation), idempotency).await;
        received.map(drop).map_err(|error| self.not_reached(error))
    }

    /// The chunks as they are produced. If the job fails, the error is the last item.
    pub(crate) fn chunks(self) -> BoxStream<'static, Result<RawJson>> {
        let polls = stream::unfold(Some(self), |state| async {
            let job = state?;
            match job.next_chunks().await {
                Ok((chunks, false)) => Some((chunks, Some(job))),
                Ok((chunks, true)) => Some((chunks, None)),
                Err(error) => Some((vec![Err(error)], None)),
            }
        });
        polls.flat_map(stream::iter).boxed()
    }

    /// The chunks so far, and whether they are the last.
    async fn next_chunks(&self) -> Result<(Vec<Result<RawJson>>, bool)> {
        let began = Instant::now();
        let path = format!("{}?wait={}", self.path("stream"), STREAM_HOLD.as_millis());
        let asked =
            self.queue.send(Method::GET, &path, Idempotency::DeliveredOnce, STREAM_HOLD, |request| request);
        let polled = asked.await.and_then(|received| received.json::<JobChunks>());
        let polled = polled.map_err(|error| self.not_reached(error))?;
        let ended = polled.status.is_final();
        let mut chunks: Vec<_> = polled.stream.into_iter().map(|chunk| Ok(chunk.output)).collect();
        if ended && polled.status != JobStatus::Completed {
            let failure = self.object().await?.into_output().err();
            chunks.extend(failure.map(|error| Err(self.located(error))));
        }
        // Avoids a busy loop if the endpoint does not hold the request.
        if !ended && chunks.is_empty() && began.elapsed() < POLL.0 {
            tokio::time::sleep(POLL.0).await;
        }
        Ok((chunks, ended))
    }

    fn path(&self, operation: &str) -> String {
        format!("{operation}/{}", escaped(&self.id))
    }

    /// The error of a request about the job.
    fn not_reached(&self, error: Error) -> Error {
        self.located(match error.kind() {
            ErrorKind::NotFound => error.context(format!("job `{}` is unknown or forgotten", self.id)),
            _ => error,
        })
    }

    fn located(&self, error: Error) -> Error {
        located(error, self.stage.clone(), self.request_id.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Router, http::StatusCode, routing::get};
    use tokio::net::TcpListener;

    use super::*;
    use crate::{http_client::HttpClient, queue_client::RetryPolicy};

    /// A job on a server that gives these answers, one after the other.
    async fn job(answers: &'static [(u16, &'static str)], lost_polls: u32) -> RemoteJob {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let next = Arc::new(AtomicUsize::new(0));
        let answer = get(move || async move {
            let (status, body) = answers[next.fetch_add(1, Ordering::Relaxed)];
            (StatusCode::from_u16(status).unwrap(), body)
        });
        let server = axum::serve(listener, Router::new().route("/status/{id}", answer));
        tokio::spawn(async move { server.await });
        let retry_policy = RetryPolicy { request_timeout: Duration::from_secs(10), retries: 0, lost_polls };
        let queue = QueueClient { http: Arc::new(HttpClient::new(None)), url, retry_policy };
        RemoteJob { queue, id: "j".to_owned(), stage: "w/f".to_owned(), request_id: None }
    }

    #[tokio::test]
    async fn waiting_survives_lost_polls_in_a_row_up_to_a_number() {
        const ANSWERS: &[(u16, &str)] = &[
            (502, ""),
            (200, r#"{"id":"j","status":"IN_PROGRESS"}"#),
            (503, ""),
            (200, r#"{"id":"j","status":"COMPLETED","output":7}"#),
        ];
        assert_eq!(job(ANSWERS, 1).await.output().await.unwrap().get(), "7");
        let error = job(ANSWERS, 0).await.output().await.unwrap_err();
        assert_eq!((error.kind(), error.stage()), (ErrorKind::Transport, Some("w/f")));
    }

    #[tokio::test]
    async fn only_an_unknown_job_is_called_unknown() {
        let unknown = job(&[(404, r#"{"error":"no job"}"#)], 5).await.output().await.unwrap_err();
        assert_eq!(
            (unknown.kind(), unknown.message()),
            (ErrorKind::NotFound, "job `j` is unknown or forgotten")
        );
        const FAILED: &str = r#"{"id":"j","status":"FAILED","error":"{\"error_type\":\"\",\"error_message\":\"\",\"flash\":{\"kind\":\"not_found\",\"message\":\"no such row\"}}"}"#;
        let failed = job(&[(200, FAILED)], 5).await.output().await.unwrap_err();
        assert_eq!((failed.kind(), failed.message()), (ErrorKind::NotFound, "no such row"));
    }
}
