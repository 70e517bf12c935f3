//! A client for any endpoint, by ID or URL: of a Flash app, or any other on Runpod.
//!
//! You do not need it for functions of your own app: call them by name. To accept any answer, decode it as
//! `serde_json::Value`.
mod job;
mod options;
mod request;
mod retry;
mod send;

use std::{fmt, sync::Arc, time::Duration};

use flash_protocol::{
    Error, ErrorKind, Result, variables,
    wire::{
        RawJson,
        envelope::Envelope,
        identity::{FunctionName, RequestId},
        job::JobObject,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use job::Job;
pub use options::JobOptions;
pub use request::{Answer, Request};

use crate::{
    call::{
        Process,
        http::{Client, WAIT, job_body, trace_headers},
        located_at, output_of, settle, within,
    },
    context::Context,
    json,
};
use retry::Idempotency;

/// The base URL of endpoint IDs.
const RUNPOD: &str = "https://api.runpod.ai/v2";
/// How long one request may take, in addition to the time that the server is asked to hold it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is retried.
const RETRIES: u32 = 4;
/// The documented bounds of the wait of `runsync`, in milliseconds.
const HOLD_MS: (u64, u64) = (1_000, 300_000);

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
/// let caption: Value = job.output().await?;
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
    address: Address,
    client: Arc<Client>,
    function: Option<String>,
    timeout: Option<Duration>,
    request_timeout: Duration,
    retries: u32,
}

/// The URLs of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    /// The URL that `/run` is appended to.
    queue: String,
    /// The URL that the paths of its routes are appended to.
    routes: String,
}

impl Address {
    fn of(id_or_url: &str) -> Self {
        if id_or_url.contains("://") {
            let queue = id_or_url.trim_end_matches('/').to_owned();
            // If the queue API of a worker type is at `/v2/NAME`, its routes are at `/NAME`. On Runpod, routes have
            // separate hosts.
            let routes = match queue.rsplit_once("/v2/") {
                Some(("https://api.runpod.ai", id)) if !id.contains('/') => {
                    format!("https://{id}.api.runpod.ai")
                }
                Some((host, name)) if !name.contains('/') => format!("{host}/{name}"),
                _ => queue.clone(),
            };
            return Self { queue, routes };
        }
        let id = crate::call::http::escaped(id_or_url);
        Self { queue: format!("{RUNPOD}/{id}"), routes: format!("https://{id}.api.runpod.ai") }
    }
}

impl fmt::Debug for Endpoint {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("url", &self.address.queue)
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

/// The keys from environment variables, and what decides where they may be sent.
struct Keys {
    flash: Option<String>,
    runpod: Option<String>,
    /// The URLs of the app's other worker types.
    endpoints: Option<String>,
    /// Whether this process is a worker on the Flash platform. Then `RUNPOD_API_KEY` is its credential for that
    /// platform.
    is_on_flash: bool,
}

impl Keys {
    /// The key for this URL. A key is only sent to the platform that it is for.
    fn for_url(self, url: &str) -> Option<String> {
        let Self { flash, runpod, endpoints, is_on_flash } = self;
        let uri: http::Uri = url.parse().ok()?;
        let is_runpod = uri.host().is_some_and(|host| host == "runpod.ai" || host.ends_with(".runpod.ai"));
        if is_runpod {
            return runpod.filter(|_| !is_on_flash).or(flash);
        }
        let origin = format!("{}://{}/", uri.scheme_str()?, uri.authority()?);
        let is_peer = endpoints.is_some_and(|map| map.contains(&origin));
        flash.or(runpod.filter(|_| is_peer))
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
        let keys = Keys {
            flash: variables::get(variables::API_KEY),
            runpod: variables::get(variables::RUNPOD_API_KEY),
            endpoints: variables::get(variables::ENDPOINTS),
            is_on_flash: variables::get(variables::EXCHANGE_URL).is_some(),
        };
        let key = keys.for_url(&Address::of(id_or_url).queue);
        Self::with_key(id_or_url, key)
    }

    fn with_key(id_or_url: &str, key: Option<String>) -> Self {
        Self {
            address: Address::of(id_or_url),
            client: Arc::new(Client::new(key)),
            function: None,
            timeout: None,
            request_timeout: REQUEST_TIMEOUT,
            retries: RETRIES,
        }
    }

    /// Creates a client for a worker type of this app, with URL and key from `FLASH_ENV` or `FLASH_ENDPOINTS`.
    ///
    /// # Errors
    /// If neither variable is set, or they do not list the worker type.
    pub fn of(worker: &str) -> Result<Self> {
        let Some(peers) = settle(Process::Other) else {
            let message = format!(
                "no deployment of worker type `{worker}` is set: set {}=NAME, or {}",
                variables::ENV,
                variables::ENDPOINTS
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        Ok(Self::with_key(peers.url_of(worker)?, peers.key().map(str::to_owned)))
    }

    /// Sets the key, sent as a bearer token.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.client = Arc::new(Client::new(Some(key.into())));
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

    /// Limits how long [`Endpoint::run_sync`], [`Job::wait`] and [`Job::output`] wait. The default is to wait until
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
        self.request_timeout = limit;
        self
    }

    /// Limits how often a request is retried (default 4).
    #[must_use]
    pub fn retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    /// The URL that `/run` is appended to.
    pub fn url(&self) -> &str {
        &self.address.queue
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
        let body = job_body(&envelope, &input, options.webhook.as_deref(), options.policy)?;
        let idempotency = if options.idempotency_key.is_some() {
            Idempotency::Idempotent
        } else {
            Idempotency::NotIdempotent
        };
        let url = format!("{}/run", self.address.queue);
        let received = self
            .send(idempotency, self.request_timeout, || {
                let request = self.submission(&url, &envelope, &body);
                match &options.idempotency_key {
                    Some(key) => request.header("idempotency-key", key),
                    None => request,
                }
            })
            .await;
        let job: JobObject =
            received.and_then(|received| received.json()).map_err(|error| self.located(error, &envelope))?;
        Ok(Job::new(self.clone(), job.id, envelope.request_id))
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
            return self.run_with(input, options).await?.output().await;
        }
        let input = encoded(input)?;
        let envelope = self.envelope()?;
        let output = self.patiently(self.held(&input, &envelope, options)).await;
        let output = output.map_err(|error| self.located(error, &envelope))?;
        self.decoded(&output)
    }

    async fn held(&self, input: &RawJson, envelope: &Envelope, options: &JobOptions) -> Result<RawJson> {
        let hold = self.timeout.unwrap_or(WAIT).min(WAIT);
        let hold = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX).clamp(HOLD_MS.0, HOLD_MS.1);
        let url = format!("{}/runsync?wait={hold}", self.address.queue);
        let body = job_body(envelope, input, options.webhook.as_deref(), options.policy)?;
        let limit = self.request_timeout + Duration::from_millis(hold);
        let received =
            self.send(Idempotency::NotIdempotent, limit, || self.submission(&url, envelope, &body)).await?;
        let job: JobObject = received.json()?;
        if job.status.is_final() {
            return output_of(job);
        }
        output_of(Job::new(self.clone(), job.id, envelope.request_id.clone()).ended().await?)
    }

    fn submission(&self, url: &str, envelope: &Envelope, body: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(reqwest::Method::POST, url.to_owned());
        let request =
            trace_headers(envelope).fold(request, |request, (name, value)| request.header(name, value));
        request.header("content-type", "application/json").body(body.to_owned())
    }

    /// A job that was submitted before, by its ID.
    pub fn job(&self, id: impl Into<String>) -> Job {
        Job::new(self.clone(), id.into(), None)
    }

    /// Returns the number of jobs and workers. It also works for load-balanced endpoints.
    ///
    /// # Errors
    /// Why the endpoint could not be reached.
    pub async fn health(&self) -> Result<Health> {
        self.read("health").await
    }

    /// Removes all waiting jobs and returns their number. Running jobs are not affected.
    ///
    /// # Errors
    /// Why the endpoint could not be reached.
    pub async fn purge(&self) -> Result<u64> {
        #[derive(Deserialize)]
        struct Purged {
            removed: u64,
        }
        // A repeated purge would also remove jobs that arrived in between.
        let url = format!("{}/purge-queue", self.address.queue);
        let received = self.send(Idempotency::NotIdempotent, self.request_timeout, || {
            self.client.request(reqwest::Method::POST, url.clone())
        });
        let purged: Purged = received.await?.json()?;
        Ok(purged.removed)
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
        Request::new(self.clone(), method, path)
    }

    /// Sends a request that only reads.
    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let url = format!("{}/{path}", self.address.queue);
        let received = self.send(Idempotency::Idempotent, self.request_timeout, || {
            self.client.request(reqwest::Method::GET, url.clone())
        });
        received.await?.json()
    }

    /// The envelope from the current call; outside a call, a new request.
    fn envelope(&self) -> Result<Envelope> {
        let name = self.function.clone().unwrap_or_else(|| self.address.queue.clone());
        let mut envelope = Context::envelope_for(Context::current().as_ref(), name)?;
        envelope.function = self.function.as_deref().map(FunctionName::new);
        envelope.request_id.get_or_insert_with(RequestId::random);
        Ok(envelope)
    }

    /// Waits at most until this endpoint's timeout or the current call's deadline.
    async fn patiently<T>(&self, waiting: impl Future<Output = Result<T>>) -> Result<T> {
        let deadline = Context::current().and_then(|context| context.deadline());
        let Some(limit) = self.timeout else { return within(deadline, waiting).await };
        match tokio::time::timeout(limit, within(deadline, waiting)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let message = format!(
                    "no result within {} s; the job keeps running if it has started",
                    limit.as_secs_f64()
                );
                Err(Error::new(ErrorKind::Timeout, message))
            }
        }
    }

    fn located(&self, error: Error, envelope: &Envelope) -> Error {
        located_at(error, self.stage(), envelope.request_id.clone())
    }

    /// What errors show in place of the function.
    fn stage(&self) -> String {
        let name = self.address.queue.rsplit('/').next().unwrap_or_default();
        match &self.function {
            Some(function) => format!("{name}/{function}"),
            None => name.to_owned(),
        }
    }

    fn decoded<O: DeserializeOwned>(&self, output: &RawJson) -> Result<O> {
        serde_json::from_str(output.get()).map_err(|error| {
            let message = format!(
                "the output of `{}` does not match the expected type: {}",
                self.stage(),
                flash_protocol::wire::fault(&error)
            );
            Error::new(ErrorKind::Decode, message)
        })
    }
}

fn encoded<I: Serialize + ?Sized>(input: &I) -> Result<RawJson> {
    json::encode(input, "the input", 0)
}

/// The jobs and workers of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Health {
    /// Its jobs.
    pub jobs: JobCounts,
    /// Its workers.
    pub workers: WorkerCounts,
}

/// Number of jobs by status. A count that the endpoint does not report is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobCounts {
    /// Ended with a result.
    pub completed: u64,
    /// Ended with an error.
    pub failed: u64,
    /// At this moment.
    pub in_progress: u64,
    /// At this moment.
    pub in_queue: u64,
    /// Started again on another worker.
    pub retried: u64,
}

/// Number of workers by state. A count that the endpoint does not report is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WorkerCounts {
    /// Ready, without work.
    pub idle: u64,
    /// Starting.
    pub initializing: u64,
    /// Able to take work, including idle ones.
    pub ready: u64,
    /// Working.
    pub running: u64,
    /// Delayed by missing hardware or by crashes.
    pub throttled: u64,
    /// Not responding, or failing the health check.
    pub unhealthy: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_goes_to_nobody_whom_it_is_not_for() {
        let key = |url: &str, flash: Option<&str>, is_on_flash: bool| {
            let own = |text: &str| Some(text.to_owned());
            let endpoints = own(r#"{"pre":"http://127.0.0.1:8900/v2/pre"}"#);
            Keys { flash: flash.map(str::to_owned), runpod: own("rp"), endpoints, is_on_flash }.for_url(url)
        };
        let runpod = "https://api.runpod.ai/v2/abc";
        assert_eq!(key(runpod, Some("fl"), false).as_deref(), Some("rp"));
        assert_eq!(key(runpod, None, true), None, "a worker's credential stays on its platform");
        assert_eq!(key("http://127.0.0.1:8900/v2/other", None, true).as_deref(), Some("rp"));
        assert_eq!(key("http://127.0.0.1:89001/v2/other", None, true), None);
        assert_eq!(key("https://elsewhere.example/v2/x", None, false), None);
        assert_eq!(key("https://evil-runpod.ai/v2/x", None, false), None);
        assert_eq!(key("https://elsewhere.example/v2/x", Some("fl"), false).as_deref(), Some("fl"));
    }

    #[test]
    fn an_id_is_one_on_runpod_and_a_url_is_itself() {
        let by_id = Address::of("abc123");
        assert_eq!(by_id.queue, "https://api.runpod.ai/v2/abc123");
        assert_eq!(by_id.routes, "https://abc123.api.runpod.ai");
        assert_eq!(Address::of("https://api.runpod.ai/v2/abc123/"), by_id);
        let url = "http://127.0.0.1:8900/v2/worker";
        let routes = "http://127.0.0.1:8900/worker";
        assert_eq!(Address::of(&format!("{url}/")), Address { queue: url.into(), routes: routes.into() });
        assert_eq!(Address::of("http://h:1/x").routes, "http://h:1/x");
        assert_eq!(Address::of("a/../b").queue, "https://api.runpod.ai/v2/a%2F..%2Fb");
    }

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

    #[test]
    fn counts_that_are_missing_are_zero() {
        let health: Health =
            serde_json::from_str(r#"{"jobs":{"inQueue":2},"workers":{"idle":1,"new":3}}"#).unwrap();
        assert_eq!((health.jobs.in_queue, health.jobs.failed, health.workers.idle), (2, 0, 1));
    }
}
