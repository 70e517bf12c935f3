//! The client of an endpoint, as users configure it.
use std::{fmt, sync::Arc, time::Duration};

use flash_protocol::{
    Error, ErrorKind, Result, variables,
    wire::{
        RawJson,
        envelope::Envelope,
        identity::{FunctionName, RequestId},
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    address::Address,
    health::Health,
    job::{Job, decoded, within_timeout},
    keys::Keys,
    options::JobOptions,
    request::{Request, Target},
};
use crate::{
    call::peers,
    context::Context,
    http_client::HttpClient,
    json,
    located::located,
    queue_client::{LONGEST_HOLD, QueueClient, RemoteJob, RetryPolicy, Submission},
};

/// How long one request may take, in addition to the time that the server is asked to hold it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is retried.
const RETRIES: u32 = 4;

/// A client for one endpoint. It is cheap to clone and shares its connections.
///
/// ```no_run
/// use flash_sdk::Endpoint;
/// use serde_json::{Value, json};
///
/// # async fn example() -> flash_sdk::Result<()> {
/// let endpoint = Endpoint::new("abc123def456"); // https://api.runpod.ai/v2/abc123def456
/// let caption: Value = endpoint.run_sync(&json!({ "url": "https://example.com/cat.jpg" })).await?;
///
/// let job = endpoint.run(&json!({ "url": "https://example.com/dog.jpg" })).await?;
/// println!("{} is {:?}", job.id(), job.status().await?);
/// let caption: Value = job.wait().await?;
/// # Ok(())
/// # }
/// ```
///
/// The input is sent unchanged. **Runpod drops an empty object** before the worker sees it, and the job fails: add
/// any member to such an input. If a worker type of a Flash app has several functions, choose one with
/// [`Endpoint::function`].
///
/// The key is `.key(…)`, or else `FLASH_API_KEY`, or else `RUNPOD_API_KEY`. It never appears in errors or in `Debug`.
///
/// Requests that only read are retried if the connection breaks or the answer is 408 or 502 to 504. Requests that
/// would do their work twice are retried only if no connection was established. A 429 is always retried, after its
/// `Retry-After`.
#[derive(Clone)]
pub struct Endpoint {
    queue: QueueClient,
    /// The URL that the paths of its routes are appended to.
    routes: String,
    function: Option<String>,
    timeout: Option<Duration>,
}

impl fmt::Debug for Endpoint {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.queue.url)
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Creates a client from an endpoint ID on Runpod, or from the URL that `/run` is appended to.
    ///
    /// ```
    /// # use flash_sdk::Endpoint;
    /// let on_runpod = Endpoint::new("abc123def456");
    /// let here = Endpoint::new("http://127.0.0.1:8888/v2/preprocess_worker");
    /// ```
    pub fn new(id_or_url: &str) -> Self {
        let key = Keys::from_env().for_url(&Address::of(id_or_url).queue);
        Self::with_key(id_or_url, key)
    }

    fn with_key(id_or_url: &str, key: Option<String>) -> Self {
        let Address { queue, routes } = Address::of(id_or_url);
        let retry_policy =
            RetryPolicy { request_timeout: REQUEST_TIMEOUT, retries: RETRIES, lost_polls: RETRIES };
        let queue = QueueClient { http: Arc::new(HttpClient::new(key)), url: queue, retry_policy };
        Self { queue, routes, function: None, timeout: None }
    }

    /// Creates a client for a worker type of this app, with URL and key from `FLASH_ENV` or `FLASH_ENDPOINTS`.
    ///
    /// # Errors
    /// If neither variable is set, or they do not list the worker type.
    pub fn of(worker: &str) -> Result<Self> {
        let Some(peers) = peers() else {
            let message = format!(
                "no deployment of worker type `{worker}` is set: set {}=NAME, or {}",
                variables::ENV,
                variables::ENDPOINTS
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        Ok(Self::with_key(&peers.url_of(worker)?, peers.key().map(str::to_owned)))
    }

    /// Sets the key, sent as a bearer token.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.queue.http = Arc::new(HttpClient::new(Some(key.into())));
        self
    }

    /// Chooses a function of a Flash app, as code calls it: `preprocess_text`, `Sentiment::classify`. Its name and
    /// the request and deadline of the current call are sent inside the input, which only workers of Flash apps
    /// understand.
    #[must_use]
    pub fn function(mut self, name: impl Into<String>) -> Self {
        self.function = Some(name.into());
        self
    }

    /// Limits how long [`Endpoint::run_sync`], [`Job::wait`] and [`Job::ended`] wait. The default is to wait until
    /// the job has ended. The job keeps running after a timeout.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// Limits how long one request may take, in addition to the time that the server is asked to hold it (default 30
    /// s).
    #[must_use]
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.queue.retry_policy.request_timeout = limit;
        self
    }

    /// Limits how often a request is retried (default 4). While a job is waited for, the next poll is the retry.
    #[must_use]
    pub fn retries(mut self, times: u32) -> Self {
        self.queue.retry_policy.retries = times;
        self.queue.retry_policy.lost_polls = times;
        self
    }

    /// The URL that `/run` is appended to.
    pub fn url(&self) -> &str {
        &self.queue.url
    }

    /// Submits a job without waiting for its result.
    ///
    /// # Errors
    /// Why the endpoint did not accept the job. After [`ErrorKind::Transport`], the job may or may not have been
    /// accepted. With an [idempotency key](JobOptions::idempotency_key), it is accepted only once, however often it
    /// is sent.
    pub async fn run<I: Serialize + ?Sized>(&self, input: &I) -> Result<Job> {
        self.run_with(input, &JobOptions::new()).await
    }

    /// Like [`Endpoint::run`], with options.
    ///
    /// # Errors
    /// See [`Endpoint::run`].
    pub async fn run_with<I: Serialize + ?Sized>(&self, input: &I, options: &JobOptions) -> Result<Job> {
        let input = encoded(input)?;
        let envelope = self.envelope()?;
        let submission = Submission {
            idempotency_key: options.idempotency_key.as_deref(),
            ..submission(&envelope, &input, options)
        };
        let job = self.queue.run(&submission).await.map_err(|error| self.located(error, &envelope))?;
        Ok(self.submitted(job.id, envelope.request_id))
    }

    /// Runs a job and waits for its output, with `runsync` and then by polling `status`.
    ///
    /// Dropping the future does not stop the job.
    ///
    /// # Errors
    /// The job's error; [`ErrorKind::Decode`] if the output is not an `O`; [`ErrorKind::Timeout`] after
    /// [`Endpoint::timeout`]; or why the endpoint could not be reached.
    pub async fn run_sync<I, O>(&self, input: &I) -> Result<O>
    where
        I: Serialize + ?Sized,
        O: DeserializeOwned,
    {
        self.run_sync_with(input, &JobOptions::new()).await
    }

    /// Like [`Endpoint::run_sync`], with options. With an idempotency key it uses `run` and `status`, because
    /// `runsync` does not accept one.
    ///
    /// # Errors
    /// See [`Endpoint::run_sync`].
    pub async fn run_sync_with<I, O>(&self, input: &I, options: &JobOptions) -> Result<O>
    where
        I: Serialize + ?Sized,
        O: DeserializeOwned,
    {
        if options.idempotency_key.is_some() {
            return self.run_with(input, options).await?.wait().await;
        }
        let input = encoded(input)?;
        let envelope = self.envelope()?;
        let output = within_timeout(self.timeout, self.held(&submission(&envelope, &input, options))).await;
        let output = output.map_err(|error| self.located(error, &envelope))?;
        decoded(&output, &self.stage())
    }

    async fn held(&self, submission: &Submission<'_>) -> Result<RawJson> {
        let job = self.queue.run_sync(submission, self.timeout.unwrap_or(LONGEST_HOLD)).await?;
        if job.status.is_final() {
            return job.into_output();
        }
        self.remote(job.id, submission.envelope.request_id.clone()).output().await
    }

    /// A job that was submitted before, by its ID.
    pub fn job(&self, id: impl Into<String>) -> Job {
        self.submitted(id.into(), None)
    }

    /// Returns the number of jobs and workers. It also works for load-balanced endpoints.
    ///
    /// # Errors
    /// Why the endpoint could not be reached.
    pub async fn health(&self) -> Result<Health> {
        self.queue.read("health").await
    }

    /// Removes all waiting jobs and returns their number. Running jobs are not affected.
    ///
    /// # Errors
    /// Why the endpoint could not be reached.
    pub async fn purge(&self) -> Result<u64> {
        self.queue.purge().await
    }

    /// Creates a request to any path of a load-balanced endpoint.
    ///
    /// ```no_run
    /// # use flash_sdk::Endpoint;
    /// # use serde_json::{Value, json};
    /// # async fn example() -> flash_sdk::Result<()> {
    /// let pipeline = Endpoint::new("http://127.0.0.1:8888");
    /// let answer = pipeline.request("POST", "/classify").json(&json!({ "text": "I love it!" })).send().await?;
    /// let result: Value = answer.json()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// For an ID it goes to `https://ID.api.runpod.ai`. For a URL the path is appended, with `HOST/NAME` in place of
    /// `HOST/v2/NAME`.
    pub fn request(&self, method: &str, path: &str) -> Request {
        let target = Target {
            http: self.queue.http.clone(),
            url: self.routes.clone(),
            retries: self.queue.retry_policy.retries,
            limit: self.timeout.unwrap_or(LONGEST_HOLD),
            name: self.name(),
            stage: self.stage(),
        };
        Request::new(target, method, path)
    }

    fn submitted(&self, id: String, request_id: Option<RequestId>) -> Job {
        Job::new(self.remote(id, request_id), self.timeout)
    }

    fn remote(&self, id: String, request_id: Option<RequestId>) -> RemoteJob {
        RemoteJob { queue: self.queue.clone(), id, stage: self.stage(), request_id }
    }

    /// The envelope from the current call; outside a call, a new request.
    fn envelope(&self) -> Result<Envelope> {
        let mut envelope = Context::envelope_for(Context::current().as_ref(), self.name())?;
        envelope.function = self.function.as_deref().map(FunctionName::new);
        envelope.request_id.get_or_insert_with(RequestId::random);
        Ok(envelope)
    }

    /// What a refused call is named.
    fn name(&self) -> String {
        self.function.clone().unwrap_or_else(|| self.queue.url.clone())
    }

    fn located(&self, error: Error, envelope: &Envelope) -> Error {
        located(error, self.stage(), envelope.request_id.clone())
    }

    /// What errors show in place of the function.
    fn stage(&self) -> String {
        let name = self.queue.url.rsplit('/').next().unwrap_or_default();
        match &self.function {
            Some(function) => format!("{name}/{function}"),
            None => name.to_owned(),
        }
    }
}

/// A job with these options, without the idempotency key.
fn submission<'a>(envelope: &'a Envelope, input: &'a RawJson, options: &'a JobOptions) -> Submission<'a> {
    let mut submission = Submission::new(envelope, input);
    submission.webhook = options.webhook.as_deref();
    submission.policy = options.policy;
    submission
}

fn encoded<I: Serialize + ?Sized>(input: &I) -> Result<RawJson> {
    json::encode(input, "the input", 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_key_shows_nowhere() {
        // Nothing listens on port 9 of loopback, so nothing is sent.
        let endpoint = Endpoint::new("http://127.0.0.1:9/v2/w").key("top-secret").retries(0);
        let error = endpoint.run(&serde_json::json!({})).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transport);
        assert!(error.request_id().is_some() && error.stage() == Some("w"), "{error:?}");
        for text in [format!("{endpoint:?}"), format!("{error:?}"), format!("{error:#}")] {
            assert!(!text.contains("top-secret"), "{text}");
        }
    }
}
