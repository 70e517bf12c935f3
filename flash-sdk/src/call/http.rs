//! Calls over HTTP: the client side of Runpod's queue API, and plain requests to routes.
use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use flash_protocol::{
    Error, ErrorKind, Result, WireError,
    wire::{
        RawJson,
        envelope::{self, Envelope},
        events::{self, Event, Events},
        identity::RequestId,
        job::{JobObject, JobStatus, Policy},
        refusal,
    },
};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{EncodedCall, located, output_of};
use crate::{context::Context, descriptor::Function};

/// The longest wait to ask `runsync` for: the documented default. Longer jobs are polled.
pub(crate) const WAIT: Duration = Duration::from_secs(90);
/// Between polls of a job's status, growing from the first to the second.
pub(crate) const POLL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));
/// Consecutive transport failures that polling survives.
const POLL_FAILURES: u32 = 5;

/// HTTP clients, created at first use: loading TLS roots takes milliseconds, which a cold start cannot spare.
pub(crate) struct Client {
    inner: OnceLock<reqwest::Client>,
    /// For URLs of this machine, without a proxy.
    local: OnceLock<reqwest::Client>,
    key: Option<String>,
}

/// The body of `run` and `runsync`.
#[derive(Serialize)]
struct Submission<'a> {
    input: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<&'a str>,
    #[serde(skip_serializing_if = "is_default")]
    policy: Policy,
}

fn is_default(policy: &Policy) -> bool {
    *policy == Policy::default()
}

/// The JSON text of a job. If a function is named, the input contains the envelope. Otherwise the job is for a
/// program, which gets its input unchanged.
pub(crate) fn job_body(
    envelope: &Envelope,
    input: &RawValue,
    webhook: Option<&str>,
    policy: Policy,
) -> Result<String> {
    let sealed = envelope.function.as_ref().map(|_| envelope::seal(envelope, input));
    let submission = Submission { input: sealed.as_deref().unwrap_or(input), webhook, policy };
    serde_json::to_string(&submission).map_err(|error| Error::new(ErrorKind::Encode, error.to_string()))
}

impl Client {
    pub(crate) fn new(key: Option<String>) -> Self {
        Self { inner: OnceLock::new(), local: OnceLock::new(), key }
    }

    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    fn http(&self, url: &str) -> &reqwest::Client {
        match is_local(url) {
            true => self.local.get_or_init(|| with_defaults(reqwest::Client::builder().no_proxy())),
            false => self.inner.get_or_init(http_client),
        }
    }

    /// A request with the key.
    pub(crate) fn request(&self, method: reqwest::Method, url: String) -> reqwest::RequestBuilder {
        let request = self.http(&url).request(method, url);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// `runsync`, then `status` until the job has ended.
    pub(super) async fn run_sync(
        &self,
        url: &str,
        envelope: &Envelope,
        input: &RawValue,
    ) -> Result<JobObject> {
        let left = Context::current().and_then(|context| context.time_left()).unwrap_or(WAIT).min(WAIT);
        let wait = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).clamp(1000, 300_000);
        let job: JobObject = self.post_input(&format!("{url}/runsync?wait={wait}"), envelope, input).await?;
        if job.status.is_final() { Ok(job) } else { self.wait(url, &job.id).await }
    }

    /// `run`: returns the job's ID.
    pub(super) async fn run(&self, url: &str, envelope: &Envelope, input: &RawValue) -> Result<String> {
        let job: JobObject = self.post_input(&format!("{url}/run"), envelope, input).await?;
        Ok(job.id)
    }

    async fn post_input(&self, url: &str, envelope: &Envelope, input: &RawValue) -> Result<JobObject> {
        let body = job_body(envelope, input, None, Policy::default())?;
        let mut request = self.request(reqwest::Method::POST, url.to_owned());
        for (name, value) in trace_headers(envelope) {
            request = request.header(name, value);
        }
        let request = request.header("content-type", "application/json").body(body);
        json(request.timeout(WAIT + Duration::from_secs(30))).await
    }

    pub(super) async fn status(&self, url: &str, id: &str) -> Result<JobObject> {
        json(
            self.request(reqwest::Method::GET, format!("{url}/status/{id}")).timeout(Duration::from_secs(10)),
        )
        .await
    }

    pub(super) async fn post_job(&self, url: &str, operation: &str, id: &str) -> Result<()> {
        let request = self.request(reqwest::Method::POST, format!("{url}/{operation}/{id}"));
        json::<serde::de::IgnoredAny>(request.timeout(Duration::from_secs(10))).await.map(|_| ())
    }

    /// Polls until the job has ended; tolerates a few transport failures.
    pub(super) async fn wait(&self, url: &str, id: &str) -> Result<JobObject> {
        let (mut pause, mut failures) = (POLL.0, 0);
        loop {
            match self.status(url, id).await {
                Ok(job) if job.status.is_final() => return Ok(job),
                Ok(_) => failures = 0,
                Err(error) if error.kind() == ErrorKind::Transport && failures < POLL_FAILURES => {
                    failures += 1
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(pause).await;
            pause = pause.mul_f32(1.5).min(POLL.1);
        }
    }

    /// Chunks of a job that streams, as they come.
    pub(super) fn stream(
        &'static self,
        url: &'static str,
        id: String,
        function: &'static Function,
        request_id: Option<RequestId>,
    ) -> BoxStream<'static, Result<RawJson>> {
        let polls = stream::unfold(Some(id), move |state| {
            let request_id = request_id.clone();
            async move {
                let id = state?;
                match self.poll_stream(url, &id).await {
                    Ok((chunks, false)) => Some((chunks, Some(id))),
                    Ok((chunks, true)) => Some((chunks, None)),
                    Err(error) => Some((vec![Err(located(error, function, request_id))], None)),
                }
            }
        });
        polls.flat_map(stream::iter).boxed()
    }

    /// The chunks so far, and whether they are the last.
    async fn poll_stream(&self, url: &str, id: &str) -> Result<(Vec<Result<RawJson>>, bool)> {
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
        let started = Instant::now();
        let request = self.request(reqwest::Method::GET, format!("{url}/stream/{id}?wait=5000"));
        let polled: Polled = json(request.timeout(Duration::from_secs(30))).await?;
        let ended = polled.status.is_final();
        let mut chunks: Vec<_> = polled.stream.into_iter().map(|chunk| Ok(chunk.output)).collect();
        if ended && polled.status != JobStatus::Completed {
            chunks.extend(output_of(self.status(url, id).await?).err().map(Err));
        }
        // Avoids a busy loop if the platform does not hold the request.
        if !ended && chunks.is_empty() && started.elapsed() < POLL.0 {
            tokio::time::sleep(POLL.0).await;
        }
        Ok((chunks, ended))
    }

    /// The answer of a route of another worker type.
    pub(super) async fn request_route(
        &self,
        url: &str,
        function: &Function,
        envelope: &Envelope,
        call: EncodedCall,
    ) -> Result<RawJson> {
        json(self.route_request(url, function, envelope, call)?).await
    }

    /// The chunks of a route that streams, as they come. Dropping them ends the request.
    pub(super) async fn stream_route(
        &self,
        url: &str,
        function: &'static Function,
        envelope: &Envelope,
        call: EncodedCall,
    ) -> Result<BoxStream<'static, Result<RawJson>>> {
        let request = self.route_request(url, function, envelope, call)?;
        let response = request.header("accept", events::CONTENT_TYPE).send().await.map_err(transport)?;
        let status = response.status();
        if !status.is_success() {
            let body = response.bytes().await.map_err(transport)?;
            return Err(refusal(status.as_u16(), &body).into());
        }
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with(events::CONTENT_TYPE)) {
            let message = format!(
                "`{}` answered {}, expected {}",
                function.stage(),
                kind.unwrap_or("no content type"),
                events::CONTENT_TYPE,
            );
            return Err(Error::new(ErrorKind::Decode, message));
        }
        let request_id = envelope.request_id.clone();
        let chunks = stream::try_unfold((response, Events::default()), |(mut response, mut events)| async {
            let Some(bytes) = response.chunk().await.map_err(transport)? else { return Ok::<_, Error>(None) };
            let found =
                events.push(&bytes).map_err(|error| Error::new(ErrorKind::Decode, error.to_string()))?;
            Ok(Some((stream::iter(found.into_iter().map(chunk_of)), (response, events))))
        });
        let chunks = chunks.try_flatten();
        Ok(chunks.map_err(move |error| located(error, function, request_id.clone())).boxed())
    }

    /// A plain request to a route.
    fn route_request(
        &self,
        url: &str,
        function: &Function,
        envelope: &Envelope,
        call: EncodedCall,
    ) -> Result<reqwest::RequestBuilder> {
        let Some(route) = function.route else {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("`{}` is not a route", function.call_name()),
            ));
        };
        let method = reqwest::Method::from_bytes(route.method.as_bytes())?;
        let (mut path, mut query) = (route.path.to_owned(), Vec::new());
        for (name, value) in call.text {
            let slot = format!("{{{name}}}");
            if path.contains(&slot) {
                path = path.replace(&slot, &escaped(&value))
            } else {
                query.push((name, value))
            }
        }
        let mut request = self.request(method, format!("{}{path}", url.trim_end_matches('/'))).query(&query);
        if !matches!(route.method, "GET" | "DELETE" | "HEAD") {
            request = request.header("content-type", "application/json").body(call.body.get().to_owned());
        }
        for (name, value) in trace_headers(envelope) {
            request = request.header(name, value);
        }
        Ok(request)
    }
}

/// Decodes an event of a route: a chunk, or the failure that ends the stream.
fn chunk_of(event: Event) -> Result<RawJson> {
    let not_understood = |error: serde_json::Error| {
        Error::new(ErrorKind::Decode, format!("could not parse an event of the route: {error}"))
    };
    match event.name.as_str() {
        events::ERROR => Err(serde_json::from_str::<WireError>(&event.data).map_err(not_understood)?.into()),
        _ => RawValue::from_string(event.data).map_err(not_understood),
    }
}

/// Whether a URL points to this machine.
fn is_local(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    };
    let host = host.unwrap_or_default();
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One path segment, percent-encoded.
pub(crate) fn escaped(segment: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    segment
        .bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// The headers that carry an envelope to a route.
pub(crate) fn trace_headers(envelope: &Envelope) -> impl Iterator<Item = (&'static str, String)> {
    let depth = (envelope.depth > 0).then(|| envelope.depth.to_string());
    [
        ("x-request-id", envelope.request_id.clone().map(String::from)),
        ("traceparent", envelope.traceparent.clone().map(String::from)),
        ("x-flash-deadline-ms", envelope.deadline_ms.map(|deadline| deadline.to_string())),
        ("x-flash-depth", depth),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
}

/// An HTTP client with TLS on ring and the machine's certificates.
pub(crate) fn http_client() -> reqwest::Client {
    with_defaults(reqwest::Client::builder())
}

fn with_defaults(builder: reqwest::ClientBuilder) -> reqwest::Client {
    // Another part of the program may have installed a provider already, which is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder
        .user_agent(concat!("flash-sdk/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(Duration::from_secs(10))
        // A platform never redirects. Following a redirect would send the key or the job to an address that nobody
        // chose.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client with these fixed settings can be built")
}

async fn json<T: serde::de::DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T> {
    let response = request.send().await.map_err(transport)?;
    let status = response.status();
    let body = response.bytes().await.map_err(transport)?;
    if !status.is_success() {
        return Err(refusal(status.as_u16(), &body).into());
    }
    serde_json::from_slice(&body).map_err(|error| {
        Error::new(
            ErrorKind::Decode,
            format!("could not parse the platform's answer: {}", flash_protocol::wire::fault(&error)),
        )
    })
}

pub(crate) fn transport(error: reqwest::Error) -> Error {
    let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Transport };
    // The URL may contain a key in some setups, so it is left out.
    let error = Error::from(error.without_url());
    let mut wire = error.into_wire();
    wire.kind = kind;
    wire.into()
}

#[cfg(test)]
mod tests {
    use flash_protocol::wire::identity::FunctionName;

    use super::*;

    #[test]
    fn a_path_segment_is_escaped() {
        assert_eq!(escaped("a/b c"), "a%2Fb%20c");
    }

    #[test]
    fn no_proxy_stands_before_this_machine() {
        for local in
            ["http://127.0.0.1:8900/v2/w", "http://localhost:1/", "http://LocalHost", "http://[::1]:80/x"]
        {
            assert!(is_local(local), "{local}");
        }
        for other in
            ["https://api.runpod.ai/v2/x", "http://localhost.example.org/", "http://10.0.0.1/localhost"]
        {
            assert!(!is_local(other), "{other}");
        }
    }

    #[test]
    fn a_foreign_worker_gets_its_input_as_it_is_and_ours_the_envelope() {
        let input = RawValue::from_string("{\"a\":1}".to_owned()).unwrap();
        let body = |function: Option<&str>, policy| {
            let envelope = Envelope { function: function.map(FunctionName::new), ..Envelope::default() };
            job_body(&envelope, &input, None, policy).unwrap()
        };
        assert_eq!(body(None, Policy::default()), r#"{"input":{"a":1}}"#);
        assert_eq!(body(Some("f"), Policy::default()), r#"{"input":{"__flash":{"function":"f"},"a":1}}"#);
        let low = Policy { low_priority: true, ttl: Some(10_000), ..Policy::default() };
        assert_eq!(body(None, low), r#"{"input":{"a":1},"policy":{"ttl":10000,"lowPriority":true}}"#);
    }
}
