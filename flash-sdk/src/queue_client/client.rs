//! Requests for an endpoint's queue.
use std::{sync::Arc, time::Duration};

use flash_protocol::{
    Result,
    wire::{
        envelope::Envelope,
        job::{JobObject, Policy},
        retry::Idempotency,
        submission,
    },
};
use reqwest::Method;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::http_client::{HttpClient, Received, send};

/// The longest wait to ask `runsync` for: the documented default. Longer jobs are polled.
pub(crate) const LONGEST_HOLD: Duration = Duration::from_secs(90);
/// The shortest one: the documented least wait of `runsync`.
const SHORTEST_HOLD: Duration = Duration::from_secs(1);
/// The slowest link for which a body gets the time that it needs.
const BYTES_PER_SECOND: u64 = 100_000;

/// How long and how often it tries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetryPolicy {
    /// How long one request may take, in addition to the time that the server is asked to hold it, and to the time
    /// that its body takes over a slow link.
    pub request_timeout: Duration,
    /// How often one request is sent again.
    pub retries: u32,
    /// How many polls in a row may fail while waiting for the end of a job. The next poll is the retry.
    pub lost_polls: u32,
}

/// A job to submit.
pub(crate) struct Submission<'a> {
    pub envelope: &'a Envelope,
    pub input: &'a RawValue,
    pub webhook: Option<&'a str>,
    pub policy: Policy,
    /// Only for `run`: `runsync` does not accept one.
    pub idempotency_key: Option<&'a str>,
}

impl<'a> Submission<'a> {
    /// A job without options.
    pub(crate) fn new(envelope: &'a Envelope, input: &'a RawValue) -> Self {
        Self { envelope, input, webhook: None, policy: Policy::default(), idempotency_key: None }
    }
}

/// A client for the queue of one endpoint. Cheap to clone.
#[derive(Clone)]
pub(crate) struct QueueClient {
    pub http: Arc<HttpClient>,
    /// The URL that `/run` is appended to.
    pub url: String,
    pub retry_policy: RetryPolicy,
}

impl QueueClient {
    /// `run`: returns the new job without waiting for its end.
    pub(crate) async fn run(&self, submission: &Submission<'_>) -> Result<JobObject> {
        let idempotency = match submission.idempotency_key {
            Some(_) => Idempotency::Idempotent,
            None => Idempotency::NotIdempotent,
        };
        self.submit("run", submission, idempotency, Duration::ZERO).await
    }

    /// `runsync`: returns the job when it has ended, or after `hold` as it is then.
    pub(crate) async fn run_sync(&self, submission: &Submission<'_>, hold: Duration) -> Result<JobObject> {
        let hold = hold.clamp(SHORTEST_HOLD, LONGEST_HOLD);
        let path = format!("runsync?wait={}", hold.as_millis());
        self.submit(&path, submission, Idempotency::NotIdempotent, hold).await
    }

    async fn submit(
        &self,
        path: &str,
        submission: &Submission<'_>,
        idempotency: Idempotency,
        hold: Duration,
    ) -> Result<JobObject> {
        let Submission { envelope, input, webhook, policy, idempotency_key } = submission;
        let body = submission::body(envelope, input, *webhook, *policy);
        let upload = Duration::from_secs(body.len() as u64 / BYTES_PER_SECOND);
        let received = self.send(Method::POST, path, idempotency, hold + upload, |request| {
            let headers = envelope
                .trace_headers()
                .chain(idempotency_key.map(|key| ("idempotency-key", key.to_owned())));
            let request = headers.fold(request, |request, (name, value)| request.header(name, value));
            request.header("content-type", "application/json").body(body.clone())
        });
        received.await?.json()
    }

    /// Sends a request that only reads.
    pub(crate) async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let received =
            self.send(Method::GET, path, Idempotency::Idempotent, Duration::ZERO, |request| request);
        received.await?.json()
    }

    /// Sends a request that changes something, without a body.
    pub(super) async fn post(&self, path: &str, idempotency: Idempotency) -> Result<Received> {
        let received = self.send(Method::POST, path, idempotency, Duration::ZERO, |request| request).await?;
        received.success()?;
        Ok(received)
    }

    /// `purge-queue`: removes all waiting jobs and returns their number.
    pub(crate) async fn purge(&self) -> Result<u64> {
        #[derive(Deserialize)]
        struct Purged {
            removed: u64,
        }
        // A repeated purge would also remove jobs that arrived in between.
        let purged: Purged = self.post("purge-queue", Idempotency::NotIdempotent).await?.json()?;
        Ok(purged.removed)
    }

    /// Sends a request until there is an answer or no attempt is left. The server may hold it for `hold`.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        idempotency: Idempotency,
        hold: Duration,
        add: impl Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> Result<Received> {
        send(idempotency, self.retry_policy.retries, || add(self.request(method.clone(), path, hold))).await
    }

    pub(super) fn request(&self, method: Method, path: &str, hold: Duration) -> reqwest::RequestBuilder {
        let Self { http, url, retry_policy } = self;
        http.request(method, format!("{url}/{path}")).timeout(retry_policy.request_timeout + hold)
    }
}
