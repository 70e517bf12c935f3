//! A client for any endpoint, by id or URL: one of a Flash app, or anybody's on Runpod.
//!
//! Functions of the own app need none of this: they are called by name. Where an answer is read as a type of yours,
//! `serde_json::Value` takes any.
mod job;
mod options;
mod request;
mod retry;
mod send;

use std::{fmt, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use job::Job;
pub use options::JobOptions;
pub use request::{Answer, Request};

use crate::{
    Context, Error, ErrorKind, Result,
    call::{
        Process,
        http::{Client, WAIT, job_body, trace_headers},
        located_at, output_of, settle, within,
    },
    env, json,
    wire::{
        RawJson,
        envelope::Envelope,
        identity::{FunctionName, RequestId},
        job::JobObject,
    },
};
use retry::Repeat;

/// Where ids live.
const RUNPOD: &str = "https://api.runpod.ai/v2";
/// How long one request may take beyond what the server is asked to hold it.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a request is sent again.
const RETRIES: u32 = 4;
/// What `runsync` may be asked to hold, in milliseconds, as documented.
const HOLD_MS: (u64, u64) = (1_000, 300_000);

/// A client for one endpoint. Cheap to clone; its connections are shared.
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
/// The input goes out as it is. **Runpod drops an empty object** before the worker sees it, and the job fails: give
/// such a function any member. A worker type of a Flash app that has several functions needs the function's name, by
/// [`Endpoint::function`].
///
/// The key is `.key(…)`, else `FLASH_API_KEY`, else `RUNPOD_API_KEY`. It is in no error and not in `Debug`.
///
/// Requests that only read are repeated when the connection breaks or the answer is 408 or 502 to 504; what would
/// do its work twice only when no connection came about. 429 is repeated always, after its `Retry-After`.
#[derive(Clone)]
pub struct Endpoint {
    address: Address,
    client: Arc<Client>,
    function: Option<String>,
    timeout: Option<Duration>,
    request_timeout: Duration,
    retries: u32,
}

/// Where an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    /// What `/run` is appended to.
    queue: String,
    /// What the paths of its own routes are appended to.
    routes: String,
}

impl Address {
    fn of(id_or_url: &str) -> Self {
        if id_or_url.contains("://") {
            let queue = id_or_url.trim_end_matches('/').to_owned();
            // Of a worker type whose queue API is at `/v2/NAME`, routes are at `/NAME`; Runpod has hosts of their own.
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

/// The keys in the environment, and what tells for whom they are.
struct Keys {
    flash: Option<String>,
    runpod: Option<String>,
    /// Where the other worker types of this process's app are.
    endpoints: Option<String>,
    /// Whether this process is a worker on a platform of ours: then `RUNPOD_API_KEY` is its own credential there.
    is_on_flash: bool,
}

impl Keys {
    /// The key for this address: a credential goes to nobody whom it is not for.
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
    /// An endpoint by its id on Runpod, or by the URL that `/run` is appended to.
    ///
    /// ```
    /// # use flash_sdk::Endpoint;
    /// let on_runpod = Endpoint::new("abc123def456");
    /// let here = Endpoint::new("http://127.0.0.1:8888/v2/preprocess_worker");
    /// ```
    pub fn new(id_or_url: &str) -> Self {
        let keys = Keys {
            flash: env::get(env::API_KEY),
            runpod: env::get(env::RUNPOD_API_KEY),
            endpoints: env::get(env::ENDPOINTS),
            is_on_flash: env::get(env::EXCHANGE_URL).is_some(),
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

    /// A worker type of this app, where `FLASH_ENV` or `FLASH_ENDPOINTS` says that it is, with the key that goes with
    /// that.
    ///
    /// # Errors
    /// Where neither is set, and where they do not know the worker type.
    pub fn of(worker: &str) -> Result<Self> {
        let Some(peers) = settle(Process::Other) else {
            let message = format!(
                "no deployment of worker type `{worker}` is set: set {}=NAME, or {}",
                env::ENV,
                env::ENDPOINTS
            );
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        Ok(Self::with_key(peers.url_of(worker)?, peers.key().map(str::to_owned)))
    }

    /// With this key, sent as a bearer token.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.client = Arc::new(Client::new(Some(key.into())));
        self
    }

    /// For one function of a Flash app, as code calls it: `preprocess_text`, `Sentiment::classify`. Its name, and the
    /// request and deadline of the current call, travel inside the input; only workers of Flash apps understand that.
    #[must_use]
    pub fn function(mut self, name: impl Into<String>) -> Self {
        self.function = Some(name.into());
        self
    }

    /// How long [`Endpoint::run_sync`], [`Job::wait`] and [`Job::output`] wait at most. Without it, as long as the job
    /// takes. A job that is not waited for any longer goes on.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = Some(limit);
        self
    }

    /// How long one request may take, beyond the time that the server is asked to hold it (default 30 s).
    #[must_use]
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = limit;
        self
    }

    /// How often a request is sent again at most (default 4).
    #[must_use]
    pub fn retries(mut self, times: u32) -> Self {
        self.retries = times;
        self
    }

    /// What `/run` is appended to.
    pub fn url(&self) -> &str {
        &self.address.queue
    }

    /// Hands a job over and does not wait.
    ///
    /// # Errors
    /// Why the endpoint did not take it. [`ErrorKind::Transport`] leaves open whether it did: give an
    /// [idempotency key](JobOptions::idempotency_key), and it is handed over once however often it is sent.
    pub async fn run<I: Serialize + ?Sized>(&self, input: &I) -> Result<Job> {
        self.run_with(input, &JobOptions::new()).await
    }

    /// As [`Endpoint::run`], with options.
    ///
    /// # Errors
    /// As [`Endpoint::run`].
    pub async fn run_with<I: Serialize + ?Sized>(&self, input: &I, options: &JobOptions) -> Result<Job> {
        let input = encoded(input)?;
        let envelope = self.envelope()?;
        let body = job_body(&envelope, &input, options.webhook.as_deref(), options.policy)?;
        let repeat = if options.idempotency_key.is_some() { Repeat::Harmless } else { Repeat::Twice };
        let url = format!("{}/run", self.address.queue);
        let received = self
            .send(repeat, self.request_timeout, || {
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

    /// Runs a job and waits for its output: held by `runsync`, then asked for by `status`.
    ///
    /// Dropping the future leaves the job running.
    ///
    /// # Errors
    /// What the job fails with; [`ErrorKind::Decode`] for an output that is no `O`; [`ErrorKind::Timeout`] after
    /// [`Endpoint::timeout`]; why the endpoint could not be reached.
    pub async fn run_sync<I, O>(&self, input: &I) -> Result<O>
    where
        I: Serialize + ?Sized,
        O: DeserializeOwned,
    {
        self.run_sync_with(input, &JobOptions::new()).await
    }

    /// As [`Endpoint::run_sync`], with options. With an idempotency key it is `run` and `status`: `runsync` takes none.
    ///
    /// # Errors
    /// As [`Endpoint::run_sync`].
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
        let received = self.send(Repeat::Twice, limit, || self.submission(&url, envelope, &body)).await?;
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

    /// A job that was handed over before, by its id.
    pub fn job(&self, id: impl Into<String>) -> Job {
        Job::new(self.clone(), id.into(), None)
    }

    /// How many jobs and workers there are. Works for load-balanced endpoints too.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub async fn health(&self) -> Result<Health> {
        self.read("health").await
    }

    /// Removes all jobs that wait, and says how many they were. Jobs that run go on.
    ///
    /// # Errors
    /// Why the endpoint could not be asked.
    pub async fn purge(&self) -> Result<u64> {
        #[derive(Deserialize)]
        struct Purged {
            removed: u64,
        }
        // Twice removes what came in between; that is not what was asked for.
        let url = format!("{}/purge-queue", self.address.queue);
        let received = self.send(Repeat::Twice, self.request_timeout, || {
            self.client.request(reqwest::Method::POST, url.clone())
        });
        let purged: Purged = received.await?.json()?;
        Ok(purged.removed)
    }

    /// A request to any path of a load-balanced endpoint.
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
    /// By id it goes to `https://ID.api.runpod.ai`; by URL to below that URL, or to `HOST/NAME` for `HOST/v2/NAME`.
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request::new(self.clone(), method, path)
    }

    /// Asks for something that is only read.
    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let url = format!("{}/{path}", self.address.queue);
        let received = self.send(Repeat::Harmless, self.request_timeout, || {
            self.client.request(reqwest::Method::GET, url.clone())
        });
        received.await?.json()
    }

    /// What the submission inherits from the current call; outside of one, a request of its own.
    fn envelope(&self) -> Result<Envelope> {
        let name = self.function.clone().unwrap_or_else(|| self.address.queue.clone());
        let mut envelope = Context::envelope_for(Context::current().as_ref(), name)?;
        envelope.function = self.function.as_deref().map(FunctionName::new);
        envelope.request_id.get_or_insert_with(RequestId::random);
        Ok(envelope)
    }

    /// Waits no longer than this endpoint's time-out, nor than the current call may take.
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

    /// What stands for the function in errors.
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
                crate::wire::fault(&error)
            );
            Error::new(ErrorKind::Decode, message)
        })
    }
}

fn encoded<I: Serialize + ?Sized>(input: &I) -> Result<RawJson> {
    json::encode(input, "the input", 0)
}

/// What an endpoint has to do, and with what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Health {
    /// Its jobs.
    pub jobs: JobCounts,
    /// Its workers.
    pub workers: WorkerCounts,
}

/// Jobs by what became of them. A count that the endpoint does not tell is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobCounts {
    /// With a result.
    pub completed: u64,
    /// With an error.
    pub failed: u64,
    /// At this moment.
    pub in_progress: u64,
    /// At this moment.
    pub in_queue: u64,
    /// Given to a second worker.
    pub retried: u64,
}

/// Workers by what they do. A count that the endpoint does not tell is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WorkerCounts {
    /// Ready, without work.
    pub idle: u64,
    /// Starting.
    pub initializing: u64,
    /// Able to take work, idle ones included.
    pub ready: u64,
    /// At work.
    pub running: u64,
    /// Held back for want of hardware, or by crashes.
    pub throttled: u64,
    /// Silent, or failing their health check.
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
