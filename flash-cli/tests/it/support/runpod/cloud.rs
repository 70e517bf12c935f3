//! The stand-in as a test has it: its servers, and what is planted, broken and looked at.
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{body::Body, response::Response};
use http::{HeaderMap, Request};
use http_body_util::BodyExt as _;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime, sync::Notify};

use super::{
    contract::Contract,
    endpoints,
    faults::{Call, Fault, Host},
    queue,
    rest::{self, Addresses, Reply},
    state::{Endpoint, State},
    workers::{self, NoWorkers, Workers},
};

/// The key of the account.
pub const KEY: &str = "rpa_OF_THE_STAND_IN_4711";

/// The longest time between a change and whoever waits for it.
pub const LOOK: Duration = Duration::from_millis(50);

/// How the cloud behaves where it may behave so or so.
#[derive(Debug, Clone)]
pub struct Options {
    /// How often somebody must look at played workers until they are ready.
    pub looks_until_ready: u32,
    /// Whether ` -fb` is appended to names of endpoints with flashboot.
    pub suffix_of_flashboot: bool,
    /// Whether an empty `input` is dropped before the worker sees it, as in production.
    pub drops_empty_input: bool,
    /// How long workers wait for a job.
    pub hold: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            looks_until_ready: 2,
            suffix_of_flashboot: false,
            drops_empty_input: true,
            hold: Duration::from_secs(20),
        }
    }
}

/// What all parts share.
pub struct Inner {
    state: Mutex<State>,
    /// Something is different, of whatever kind.
    pub changed: Notify,
    pub contract: Contract,
    pub options: Options,
    pub addresses: Addresses,
    pub workers: Box<dyn Workers>,
    pub client: reqwest::Client,
}

impl Inner {
    pub fn state(&self) -> MutexGuard<'_, State> {
        // A test that failed meanwhile has its own message.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn violated(&self, violation: String) {
        self.state().violations.push(violation);
    }
}

/// A call that came.
pub struct Incoming {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub raw_query: String,
    pub headers: HeaderMap,
    /// Nothing, also where it is no JSON.
    pub body: Option<Value>,
}

impl Incoming {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The key of the caller.
    fn bearer(&self) -> Option<&str> {
        self.header("authorization").and_then(|value| value.strip_prefix("Bearer "))
    }
}

/// See the module. Ends with its workers when dropped.
pub struct Cloud {
    inner: Arc<Inner>,
    runtime: Option<Runtime>,
}

impl Cloud {
    /// One whose workers are only played: they become ready, and do nothing.
    pub fn start() -> Self {
        Self::start_with(Options::default(), NoWorkers)
    }

    pub fn start_with(options: Options, workers: impl Workers) -> Self {
        // Another part of this process may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (rest, queue) = (listener(), listener());
        let (rest_at, queue_at) = (rest.local_addr().unwrap(), queue.local_addr().unwrap());
        let inner = Arc::new(Inner {
            state: Mutex::default(),
            changed: Notify::new(),
            contract: Contract::read(),
            options,
            addresses: addresses(rest_at, queue_at),
            workers: Box::new(workers),
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
        });
        for (listener, host) in [(rest, Host::Rest), (queue, Host::Queue)] {
            let inner = inner.clone();
            runtime
                .spawn(async move { accept(&inner, TcpListener::from_std(listener).unwrap(), host).await });
        }
        runtime.spawn(workers::look_after(inner.clone()));
        Self { inner, runtime: Some(runtime) }
    }

    /// For `FLASH_RUNPOD_REST_URL`.
    pub fn rest_url(&self) -> &str {
        &self.inner.addresses.rest
    }

    /// For `RUNPOD_ENDPOINT_BASE_URL`.
    pub fn queue_url(&self) -> &str {
        &self.inner.addresses.queue
    }

    /// What makes `flash` speak to this cloud, with its key.
    pub fn variables(&self) -> [(&'static str, String); 3] {
        [
            ("FLASH_RUNPOD_REST_URL", self.rest_url().to_owned()),
            ("RUNPOD_ENDPOINT_BASE_URL", self.queue_url().to_owned()),
            ("RUNPOD_API_KEY", KEY.to_owned()),
        ]
    }

    /// Breaks the next call that fits.
    pub fn fail_next(&self, fits: impl Fn(&Call) -> bool + Send + 'static, fault: Fault) {
        self.fail_nth(0, fits, fault);
    }

    /// Lets so many calls that fit pass and breaks the one after them.
    pub fn fail_nth(&self, skip: usize, fits: impl Fn(&Call) -> bool + Send + 'static, fault: Fault) {
        self.inner.state().faults.add(Box::new(fits), skip, 1, fault);
    }

    /// Whether all faults happened.
    pub fn has_no_faults_left(&self) -> bool {
        self.inner.state().faults.is_empty()
    }

    pub fn forget_faults(&self) {
        self.inner.state().faults.clear();
    }

    /// All calls of clients, in their order.
    pub fn calls(&self) -> Vec<Call> {
        self.inner.state().calls.clone()
    }

    pub fn forget_calls(&self) {
        self.inner.state().calls.clear();
    }

    /// Everything that was not as the document says, on either side; they are forgotten with this.
    pub fn take_violations(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.state().violations)
    }

    /// Fails with everything that was not as the document says, on either side.
    #[track_caller]
    pub fn assert_contract_kept(&self) {
        let violations = self.inner.state().violations.clone();
        assert!(violations.is_empty(), "the contract was broken:\n{}", violations.join("\n"));
    }

    /// As REST shows them.
    pub fn endpoints(&self) -> Vec<Value> {
        let state = self.inner.state();
        state.endpoints.values().map(|endpoint| endpoints::shown(endpoint, &self.inner.addresses)).collect()
    }

    /// The one of this name; several are an error.
    #[track_caller]
    pub fn endpoint(&self, name: &str) -> Option<Value> {
        let mut found = self.endpoints();
        found.retain(|endpoint| endpoint["name"].as_str().unwrap().trim_end_matches(" -fb") == name);
        assert!(found.len() < 2, "duplicates of {name}: {found:#?}");
        found.pop()
    }

    pub fn templates(&self) -> Vec<Value> {
        self.inner.state().templates.values().map(|template| template.clone().into()).collect()
    }

    /// Makes an endpoint by the body of a create, as somebody else would; answers its id.
    pub fn plant_endpoint(&self, body: &Value) -> String {
        planted(endpoints::create(&mut self.inner.state(), &self.inner.addresses, body, false))
    }

    pub fn plant_volume(&self, id: &str, data_center: &str) {
        self.inner.state().volumes.insert(id.to_owned(), data_center.to_owned());
    }

    /// A credential of a registry.
    pub fn plant_registry(&self, id: &str) {
        self.inner.state().registries.insert(id.to_owned());
    }

    /// A record of `/v2/billing/serverless`.
    pub fn plant_billing(&self, record: Value) {
        let errors = self.inner.contract.errors_of("ServerlessBillingRecord", &record);
        assert!(errors.is_empty(), "{errors:#?}");
        self.inner.state().billing.push(record);
    }

    /// Changes what REST shows of an endpoint behind everybody's back.
    pub fn meddle(&self, id: &str, change: impl FnOnce(&mut serde_json::Map<String, Value>)) {
        change(&mut self.inner.state().endpoints.get_mut(id).unwrap().shown);
    }

    /// Deletes an endpoint, as somebody would in the console.
    pub fn delete(&self, id: &str) {
        let reply = endpoints::delete(&mut self.inner.state(), id);
        assert_eq!(reply.status, 204, "{id}");
    }

    /// Changes a variable of a template behind everybody's back.
    pub fn meddle_template(&self, id: &str, variable: &str, value: &str) {
        let mut state = self.inner.state();
        state.templates.get_mut(id).unwrap()["env"][variable] = value.into();
    }

    /// What `{{ RUNPOD_SECRET_NAME }}` stands for in the environment of workers.
    pub fn set_secret(&self, name: &str, value: &str) {
        self.inner.state().secrets.insert(name.to_owned(), value.to_owned());
    }

    /// Workers of images with this in their reference are never ready.
    pub fn break_image(&self, part: &str) {
        self.inner.state().broken_images.push(part.to_owned());
    }

    /// All images are well again.
    pub fn fix_images(&self) {
        self.inner.state().broken_images.clear();
    }

    /// Ids of an endpoint's workers.
    pub fn workers(&self, id: &str) -> Vec<String> {
        let of = |endpoint: &Endpoint| endpoint.workers.iter().map(|worker| worker.id.clone()).collect();
        self.inner.state().endpoints.get(id).map(of).unwrap_or_default()
    }

    /// Puts a line into the logs of a worker, as its container would.
    pub fn print(&self, worker: &str, line: &str) {
        self.inner.state().lines.entry(worker.to_owned()).or_default().push("container", line.to_owned());
        self.inner.changed.notify_waiters();
    }

    /// All lines of a worker.
    pub fn lines(&self, worker: &str) -> Vec<String> {
        self.inner.state().lines.get(worker).map(super::logs::Lines::texts).unwrap_or_default()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let ended = {
            let mut state = self.inner.state();
            (std::mem::take(&mut state.endpoints), std::mem::take(&mut state.deleted))
        };
        drop(ended);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.inner.workers.end();
    }
}

fn planted(reply: Reply) -> String {
    let rest::Content::Json(body) = reply.body else { panic!("no body") };
    assert_eq!(reply.status, 201, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

fn listener() -> std::net::TcpListener {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn addresses(rest: SocketAddr, queue: SocketAddr) -> Addresses {
    Addresses {
        rest: format!("http://{rest}"),
        queue: format!("http://{queue}/v2"),
        balanced: format!("http://{queue}/lb"),
    }
}

async fn accept(inner: &Arc<Inner>, listener: TcpListener, host: Host) {
    while let Ok((stream, _)) = listener.accept().await {
        let inner = inner.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let inner = inner.clone();
                async move { serve(inner, host, request.map(Body::new)).await }
            });
            let connection = hyper::server::conn::http1::Builder::new();
            // An error is a caller that left, or one that is meant to see a reset.
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// Answers one request. An error ends the connection without an answer.
async fn serve(inner: Arc<Inner>, host: Host, request: Request<Body>) -> io::Result<Response> {
    if host == Host::Queue {
        if request.uri().path().starts_with("/lb/") {
            return Ok(queue::balanced(&inner, request).await);
        }
        if queue::is_of_workers(request.uri().path()) {
            return Ok(queue::of_workers(&inner, read(request).await?).await);
        }
    }
    let incoming = read(request).await?;
    let (number, fault) = {
        let mut state = inner.state();
        let call = Call {
            host,
            method: incoming.method.clone(),
            path: incoming.path.clone(),
            query: incoming.raw_query.clone(),
            body: incoming.body.clone(),
            status: None,
            carried_out: false,
        };
        let fault = state.faults.take(&call);
        state.calls.push(call);
        (state.calls.len() - 1, fault)
    };
    let instead = match &fault {
        Some(Fault::Status(status)) => Some(fault_of(host, *status)),
        Some(Fault::TooMany { retry_after }) => Some(Reply::too_many(*retry_after)),
        Some(Fault::Unauthorized) => Some(refusal(host, "invalid api key")),
        Some(Fault::ResetBefore) => return Err(io::ErrorKind::ConnectionReset.into()),
        Some(Fault::StatusAfter(_) | Fault::ResetAfter | Fault::Slow(_)) | None => None,
    };
    let reply = match instead {
        Some(reply) => reply,
        None => {
            let reply = authorized(&inner, host, &incoming).await;
            if let Some(call) = inner.state().calls.get_mut(number) {
                call.carried_out = true;
            }
            match fault {
                Some(Fault::ResetAfter) => return Err(io::ErrorKind::ConnectionReset.into()),
                Some(Fault::StatusAfter(status)) => fault_of(host, status),
                Some(Fault::Slow(late)) => {
                    tokio::time::sleep(late).await;
                    reply
                }
                _ => reply,
            }
        }
    };
    if host == Host::Rest {
        rest::judge(&inner, &incoming, &reply);
    }
    if let Some(call) = inner.state().calls.get_mut(number) {
        call.status = Some(reply.status);
    }
    Ok(with_rate_limits(reply).into_response())
}

async fn authorized(inner: &Arc<Inner>, host: Host, incoming: &Incoming) -> Reply {
    // The queue host takes the bare key too.
    let bare = incoming.header("authorization").filter(|_| host == Host::Queue);
    match incoming.bearer().or(bare) {
        Some(KEY) => match host {
            Host::Rest => rest::answer(inner, incoming),
            Host::Queue => queue::answer(inner, incoming).await,
        },
        Some(_) => refusal(host, "invalid api key"),
        None => refusal(host, if host == Host::Rest { "missing bearer token" } else { "no token provided" }),
    }
}

/// 401 of either host.
pub fn refusal(host: Host, detail: &str) -> Reply {
    let reply = Reply::problem(401, detail.to_owned(), Vec::new());
    match host {
        Host::Rest => reply,
        Host::Queue => Reply { content_type: Some("application/json"), ..reply },
    }
}

fn fault_of(host: Host, status: u16) -> Reply {
    let reply = Reply::problem(status, "the stand-in was told to fail".to_owned(), Vec::new());
    match host {
        Host::Rest => reply,
        Host::Queue => Reply { content_type: Some("application/json"), ..reply },
    }
}

fn with_rate_limits(mut reply: Reply) -> Reply {
    if reply.status != 401 && !reply.headers.iter().any(|(name, _)| *name == "ratelimit") {
        let left = "\"minute\";r=600;t=12, \"hour\";r=2800;t=1812, \"day\";r=49500;t=45012";
        reply.headers.push(("ratelimit", left.to_owned()));
        let policy = "\"minute\";q=600;w=60, \"hour\";q=3000;w=3600, \"day\";q=50000;w=86400";
        reply.headers.push(("ratelimit-policy", policy.to_owned()));
    }
    reply
}

async fn read(request: Request<Body>) -> io::Result<Incoming> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let url = reqwest::Url::parse(&format!("http://localhost{}", parts.uri)).map_err(io::Error::other)?;
    Ok(Incoming {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        raw_query: parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).ok(),
    })
}
