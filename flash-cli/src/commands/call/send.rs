//! Sends a call to a deployed environment and waits for the outcome.
use std::time::{Duration, Instant};

use flash_protocol::{
    WireError,
    manifest::FunctionEntry,
    wire::{
        RawJson, base64,
        envelope::Envelope,
        events::{self, Events},
        identity::RequestId,
        job::{JobChunks, JobObject, Policy},
        refusal,
        retry::{FailureKind, Idempotency, may_retry},
        submission,
    },
};
use flash_text::error_chain;
use futures_util::StreamExt as _;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    report::{CallOutcome, Reporter},
    route::{Body, RouteRequest},
};
use crate::exit::{Failure, FailureCode};

/// The longest that the platform is asked to hold a call.
const HOLD: Duration = Duration::from_secs(90);
/// The same for chunks, which should be shown soon.
const STREAM_HOLD: Duration = Duration::from_secs(5);
/// How much longer than that an answer may take.
const MARGIN: Duration = Duration::from_secs(30);
/// The interval between polls of a platform that does not hold calls.
const PAUSE: Duration = Duration::from_millis(250);

/// The cost of all hops of a request, from the answer's headers.
const COST: &str = "x-flash-cost-nanodollars";

/// What is called, in messages.
pub(super) struct Called {
    pub name: String,
    /// How to see what is the matter with it.
    pub look: String,
    /// The command that shows its logs.
    pub logs: String,
    /// How to get another key.
    pub other_key: String,
}

/// Calls an environment.
pub(super) struct Caller {
    client: reqwest::Client,
    /// For this machine: no proxy is used.
    local: reqwest::Client,
    key: Option<String>,
    request_id: String,
    called: Called,
    began: Instant,
    timeout: Duration,
}

/// A job to submit.
pub(super) struct Submission<'a> {
    pub url: &'a str,
    pub worker: &'a str,
    pub function: Option<&'a FunctionEntry>,
    pub input: &'a RawValue,
}

impl Submission<'_> {
    fn stage(&self) -> String {
        match self.function {
            Some(function) => format!("{}/{}", self.worker, function.call_name()),
            None => self.worker.to_owned(),
        }
    }

    /// A program gets its input unchanged; for a function, the name is added.
    fn body(&self, request_id: &str) -> String {
        let envelope = Envelope {
            function: self.function.map(|function| function.call_name().into()),
            request_id: RequestId::parse(request_id),
            ..Envelope::default()
        };
        submission::body(&envelope, self.input, None, Policy::default())
    }
}

impl Caller {
    /// Sets the longest time to wait, counted from now.
    ///
    /// # Errors
    /// When no TLS implementation is available.
    pub(super) fn new(called: Called, key: Option<String>, timeout: Duration) -> Result<Self, Failure> {
        let build = |builder: reqwest::ClientBuilder| {
            builder.build().map_err(|error| Failure::failed(format!("cannot create an HTTP client: {error}")))
        };
        Ok(Self {
            client: build(flash_http::client())?,
            local: build(flash_http::client().no_proxy())?,
            key,
            request_id: uuid::Uuid::new_v4().to_string(),
            called,
            began: Instant::now(),
            timeout,
        })
    }

    fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, Failure> {
        let url = Url::parse(url).map_err(|_| Failure::failed(format!("`{url}` is not a valid address")))?;
        let is_local = url.host_str().is_some_and(flash_http::is_loopback);
        let client = if is_local { &self.local } else { &self.client };
        let request = client.request(method, url).header("x-request-id", &self.request_id);
        Ok(match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        })
    }

    fn post(&self, url: &str, body: String) -> Result<RequestBuilder, Failure> {
        Ok(self.request(Method::POST, url)?.header("content-type", "application/json").body(body))
    }

    /// The remaining time to wait.
    fn left(&self) -> Duration {
        self.timeout.saturating_sub(self.began.elapsed())
    }

    /// Submits a job and prints its ID.
    pub(super) async fn submit(
        &self,
        submission: &Submission<'_>,
        reporter: &Reporter<'_>,
    ) -> Result<(), Failure> {
        let job = self.submitted(submission).await?;
        if !reporter.output.is_json() {
            reporter.output.line(&job.id);
        }
        reporter.end(CallOutcome::of_job(job, &self.request_id, &submission.stage()), self.began.elapsed())
    }

    async fn submitted(&self, submission: &Submission<'_>) -> Result<JobObject, Failure> {
        let url = format!("{}/run", submission.url);
        let request = self.post(&url, submission.body(&self.request_id))?.timeout(MARGIN);
        self.json(self.answer(request).await?).await
    }

    /// Runs a job to its end.
    pub(super) async fn run(
        &self,
        submission: &Submission<'_>,
        reporter: &Reporter<'_>,
    ) -> Result<(), Failure> {
        let hold = self.left().min(HOLD);
        let url = format!("{}/runsync?wait={}", submission.url, hold.as_millis().max(1000));
        let request = self.post(&url, submission.body(&self.request_id))?.timeout(hold + MARGIN);
        let job: JobObject = self.json(self.answer(request).await?).await?;
        let job = if job.status.is_final() { job } else { self.ended(submission, &job.id).await? };
        reporter.end(CallOutcome::of_job(job, &self.request_id, &submission.stage()), self.began.elapsed())
    }

    async fn status(&self, submission: &Submission<'_>, id: &str) -> Result<JobObject, Failure> {
        let url = format!("{}/status/{id}", submission.url);
        self.poll(&url, MARGIN, Idempotency::Idempotent, id).await
    }

    /// Polls for the outcome of a job, and retries on connection errors while time is left. The job continues
    /// meanwhile.
    async fn poll<T: DeserializeOwned>(
        &self,
        url: &str,
        limit: Duration,
        idempotency: Idempotency,
        id: &str,
    ) -> Result<T, Failure> {
        let goes_on = |failure: Failure| failure.adding(&format!("; job {id} continues"));
        loop {
            let sent = self.request(Method::GET, url)?.timeout(limit).send().await;
            let failure = match &sent {
                Ok(response) => FailureKind::of_status(response.status().as_u16(), None),
                Err(error) if error.is_connect() => Some(FailureKind::Unsent),
                Err(_) => Some(FailureKind::Broken),
            };
            let again = failure.is_some_and(|failure| may_retry(failure, idempotency));
            if !again || self.left().is_zero() {
                let response = sent.map_err(|error| goes_on(self.broken(error)))?;
                let response = self.checked(response).await.map_err(goes_on)?;
                return self.json(response).await.map_err(goes_on);
            }
            tokio::time::sleep(PAUSE.min(self.left())).await;
        }
    }

    async fn ended(&self, submission: &Submission<'_>, id: &str) -> Result<JobObject, Failure> {
        loop {
            let job = self.status(submission, id).await?;
            if job.status.is_final() {
                return Ok(job);
            }
            if self.left().is_zero() {
                return Err(self.late(Some(id)));
            }
            tokio::time::sleep(PAUSE.min(self.left())).await;
        }
    }

    /// Runs a function that streams: prints chunks as they arrive, or all of them as one array.
    pub(super) async fn stream(
        &self,
        submission: &Submission<'_>,
        printing: ChunkPrinting,
        reporter: &Reporter<'_>,
    ) -> Result<(), Failure> {
        let id = self.submitted(submission).await?.id;
        let mut chunks = Chunks::new(printing, reporter);
        loop {
            let asked = Instant::now();
            let polled = self.chunks(submission, &id).await?;
            let nothing = polled.stream.is_empty();
            polled.stream.into_iter().for_each(|chunk| chunks.take(chunk.output));
            if polled.status.is_final() {
                break;
            }
            if self.left().is_zero() {
                return Err(self.late(Some(&id)));
            }
            if nothing && asked.elapsed() < PAUSE {
                tokio::time::sleep(PAUSE).await;
            }
        }
        let job = self.status(submission, &id).await?;
        let mut outcome = CallOutcome::of_job(job, &self.request_id, &submission.stage());
        outcome.output = chunks.all();
        reporter.end(outcome, self.began.elapsed())
    }

    async fn chunks(&self, submission: &Submission<'_>, id: &str) -> Result<JobChunks, Failure> {
        let hold = STREAM_HOLD.min(self.left());
        let url = format!("{}/stream/{id}?wait={}", submission.url, hold.as_millis().max(1000));
        self.poll(&url, hold + MARGIN, Idempotency::DeliveredOnce, id).await
    }

    /// Sends a request to a route.
    pub(super) async fn route(
        &self,
        request: RouteRequest,
        answer: Answer,
        printing: ChunkPrinting,
        reporter: &Reporter<'_>,
    ) -> Result<(), Failure> {
        let RouteRequest { method, url, body } = request;
        let builder = match body {
            Some(Body::Json(body)) => {
                self.request(method, url.as_str())?.header("content-type", "application/json").body(body)
            }
            Some(Body::Raw(body)) => {
                let raw = "application/octet-stream";
                self.request(method, url.as_str())?.header("content-type", raw).body(body)
            }
            None => self.request(method, url.as_str())?,
        };
        let response = self.answer(builder.timeout(self.timeout)).await?;
        let mut outcome = CallOutcome {
            status: response.status().to_string(),
            request_id: self.request_id.clone(),
            cost_nanodollars: cost_of(&response),
            ..CallOutcome::default()
        };
        if response.status().is_success() {
            outcome.output = match answer {
                Answer::Events => self.events(response, printing, reporter, &mut outcome.error).await?,
                Answer::Json => Some(self.output(response).await?),
                Answer::Bytes => Some(self.bytes(response).await?),
            };
        } else {
            outcome.error = Some(self.refusal(response).await?);
        }
        reporter.end(outcome, self.began.elapsed())
    }

    /// The chunks of a streaming route.
    async fn events(
        &self,
        response: Response,
        printing: ChunkPrinting,
        reporter: &Reporter<'_>,
        error: &mut Option<WireError>,
    ) -> Result<Option<RawJson>, Failure> {
        let mut bytes = response.bytes_stream();
        let (mut events, mut chunks) = (Events::default(), Chunks::new(printing, reporter));
        while let Some(some) = bytes.next().await {
            let some = some.map_err(|broken| self.broken(broken))?;
            let found = events.push(&some);
            for event in
                found.map_err(|too_long| Failure::failed(format!("the route's answer: {too_long}")))?
            {
                match (event.name.as_str(), RawValue::from_string(event.data)) {
                    (events::ERROR, Ok(said)) => *error = serde_json::from_str(said.get()).ok(),
                    (_, Ok(chunk)) => chunks.take(chunk),
                    (_, Err(_)) => {
                        return Err(Failure::failed("the route sent a chunk that is not valid JSON"));
                    }
                }
            }
        }
        Ok(chunks.all())
    }

    /// The body of a successful answer, as the base64 that it would be in JSON.
    async fn bytes(&self, response: Response) -> Result<RawJson, Failure> {
        let bytes = response.bytes().await.map_err(|error| self.broken(error))?;
        serde_json::value::to_raw_value(&base64::encode(&bytes))
            .map_err(|error| Failure::of(FailureCode::Failed, &error))
    }

    /// The body of a successful answer: JSON, or text as a JSON string.
    async fn output(&self, response: Response) -> Result<RawJson, Failure> {
        let text = response.text().await.map_err(|error| self.broken(error))?;
        let text = if text.is_empty() { "null".to_owned() } else { text };
        RawValue::from_string(text.clone())
            .or_else(|_| serde_json::value::to_raw_value(&text))
            .map_err(|error| Failure::failed(format!("cannot print the answer: {error}")))
    }

    /// Sends a request, and reports rejected keys and connection errors.
    async fn answer(&self, request: RequestBuilder) -> Result<Response, Failure> {
        self.checked(request.send().await.map_err(|error| self.broken(error))?).await
    }

    async fn checked(&self, response: Response) -> Result<Response, Failure> {
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let refused = self.refusal(response).await?;
                let Called { name, other_key, .. } = &self.called;
                Err(Failure::failed(format!("{name} rejected the key: {}", refused.chain()))
                    .hint(format!("{other_key}; if FLASH_API_KEY is set, it overrides the stored key")))
            }
            _ => Ok(response),
        }
    }

    /// The answer of the queue API.
    async fn json<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        if !response.status().is_success() {
            let error = self.refusal(response).await?;
            let request = error.request_id.as_deref().unwrap_or(&self.request_id);
            let fields = error.fields.iter().map(|field| format!("\n  `{}`: {}", field.path, field.message));
            let fields: String = fields.collect();
            return Err(Failure::failed(format!(
                "the call was rejected: {}{fields} (request {request})",
                error.chain()
            ))
            .hint(self.called.look.clone()));
        }
        let bytes = response.bytes().await.map_err(|error| self.broken(error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::failed(format!("cannot parse the answer of {}: {error}", self.called.name))
        })
    }

    async fn refusal(&self, response: Response) -> Result<WireError, Failure> {
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| self.broken(error))?;
        Ok(refusal(status, &body))
    }

    fn broken(&self, error: reqwest::Error) -> Failure {
        // Other errors are connection errors, reported with their cause.
        if error.is_timeout() && !error.is_connect() && self.left().is_zero() {
            return self.late(None);
        }
        // The message names the environment, so the URL can be left out.
        let message = format!("cannot reach {}: {}", self.called.name, error_chain(&error.without_url()));
        Failure::failed(message).hint(self.called.look.clone())
    }

    fn late(&self, job: Option<&str>) -> Failure {
        let seconds = self.timeout.as_secs();
        let job = job.map_or_else(String::new, |id| format!("; job {id} continues"));
        let message = format!("no result within {seconds} s{job} (request {})", self.request_id);
        Failure::failed(message).hint(format!("{} --request {}", self.called.logs, self.request_id))
    }
}

/// What a route answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Json,
    /// The raw bytes of its result.
    Bytes,
    /// Server-sent events.
    Events,
}

impl Answer {
    pub(super) fn of(function: &FunctionEntry) -> Self {
        match (function.streams, function.raw_output) {
            (true, _) => Self::Events,
            (false, true) => Self::Bytes,
            (false, false) => Self::Json,
        }
    }
}

/// When the chunks of a stream are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkPrinting {
    /// Each as it arrives.
    AsTheyCome,
    /// All of them as one array, at the end.
    AtTheEnd,
}

/// Chunks: printed as they arrive, or collected.
enum Chunks<'a> {
    Printed(&'a Reporter<'a>),
    Kept(Vec<RawJson>),
}

impl<'a> Chunks<'a> {
    fn new(printing: ChunkPrinting, reporter: &'a Reporter<'a>) -> Self {
        match printing {
            ChunkPrinting::AsTheyCome => Self::Printed(reporter),
            ChunkPrinting::AtTheEnd => Self::Kept(Vec::new()),
        }
    }

    fn take(&mut self, chunk: RawJson) {
        match self {
            Self::Printed(reporter) => reporter.chunk(&chunk),
            Self::Kept(kept) => kept.push(chunk),
        }
    }

    /// All collected chunks, as one array.
    fn all(self) -> Option<RawJson> {
        match self {
            Self::Printed(_) => None,
            Self::Kept(kept) => serde_json::value::to_raw_value(&kept).ok(),
        }
    }
}

fn cost_of(response: &Response) -> Option<u64> {
    response.headers().get(COST)?.to_str().ok()?.parse().ok()
}
