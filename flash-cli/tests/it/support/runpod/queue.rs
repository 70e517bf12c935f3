//! The queue host: what clients ask of a queue, what its workers ask, and requests to load-balanced endpoints.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, response::Response};
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{
    cloud::{Incoming, Inner, KEY, LOOK, refusal},
    faults::Host,
    rest::Reply,
    state::{Endpoint, Job, Stage, State},
};

/// How long a request waits for a worker.
const FOR_A_WORKER: Duration = Duration::from_secs(120);
/// How long `runsync` waits when nothing is said.
const RUNSYNC: Duration = Duration::from_secs(90);
/// How long `stream` waits when nothing is said.
const STREAM: Duration = Duration::from_secs(2);

/// What a client asks of `/v2/ID/…`.
pub async fn answer(inner: &Arc<Inner>, call: &Incoming) -> Reply {
    let segments: Vec<&str> = call.path.trim_start_matches("/v2/").split('/').collect();
    let (id, operation, job) = match segments[..] {
        [id, operation] => (id, operation, None),
        [id, operation, job] => (id, operation, Some(job)),
        _ => return error(404, "not found"),
    };
    let is_queue = match inner.state().endpoints.get(id) {
        None => return error(404, "endpoint not found"),
        Some(endpoint) if operation == "health" => return Reply::json(200, endpoint.health()),
        Some(endpoint) => endpoint.is_queue(),
    };
    if !is_queue {
        return error(400, "not allowed for QB API");
    }
    let wait = call.query.iter().find(|(name, _)| name == "wait").and_then(|(_, wait)| wait.parse().ok());
    let wait = wait.map(Duration::from_millis);
    match (call.method.as_str(), operation, job) {
        ("POST", "run", None) => submit(inner, id, call).map_or_else(
            |refused| refused,
            |job| Reply::json(200, json!({ "id": job, "status": "IN_QUEUE" })),
        ),
        ("POST", "runsync", None) => match submit(inner, id, call) {
            Ok(job) => final_status(inner, id, &job, wait.unwrap_or(RUNSYNC)).await,
            Err(refused) => refused,
        },
        (_, "status", Some(job)) => with_job(inner, id, job, |job, shown| Reply::json(200, job.shown(shown))),
        (_, "status-sync", Some(job)) => final_status(inner, id, job, wait.unwrap_or(RUNSYNC)).await,
        (_, "stream", Some(job)) => chunks(inner, id, job, wait.unwrap_or(STREAM)).await,
        ("POST", "cancel", Some(job)) => cancel(inner, id, job),
        ("POST", "retry", Some(job)) => retry(inner, id, job),
        ("POST", "purge-queue", None) => purge(inner, id),
        _ => error(404, "not allowed for QB API"),
    }
}

fn error(status: u16, text: &str) -> Reply {
    Reply::json(status, json!({ "error": text }))
}

fn submit(inner: &Inner, id: &str, call: &Incoming) -> Result<String, Reply> {
    let body = call
        .body
        .as_ref()
        .and_then(Value::as_object)
        .ok_or_else(|| error(400, "the body is no JSON object"))?;
    if !body.contains_key("input") {
        return Err(error(400, "input is required"));
    }
    let known = ["input", "webhook", "policy", "s3Config"];
    let mut kept: Map<String, Value> = body
        .iter()
        .filter(|(name, _)| known.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if inner.options.drops_empty_input && kept["input"].as_object().is_some_and(Map::is_empty) {
        kept.remove("input");
    }
    let mut state = inner.state();
    let job = format!("{}-u1", uuid::Uuid::new_v4());
    let endpoint = state.endpoints.get_mut(id).ok_or_else(|| error(404, "endpoint not found"))?;
    endpoint.jobs.insert(job.clone(), Job::new(kept));
    endpoint.queue.push_back(job.clone());
    drop(state);
    inner.changed.notify_waiters();
    Ok(job)
}

fn with_job(inner: &Inner, id: &str, job: &str, then: impl FnOnce(&mut Job, &str) -> Reply) -> Reply {
    let mut state = inner.state();
    let Some(endpoint) = state.endpoints.get_mut(id) else { return error(404, "endpoint not found") };
    let Some(found) = endpoint.jobs.get_mut(job) else { return error(404, "job not found") };
    then(found, job)
}

async fn final_status(inner: &Inner, id: &str, job: &str, wait: Duration) -> Reply {
    let until = Instant::now() + wait;
    loop {
        let mut is_final = true;
        let reply = with_job(inner, id, job, |job, shown| {
            is_final = job.is_final();
            Reply::json(200, job.shown(shown))
        });
        if is_final || Instant::now() > until {
            return reply;
        }
        let _ = timeout(LOOK, inner.changed.notified()).await;
    }
}

/// Each call has what no call had before.
async fn chunks(inner: &Inner, id: &str, job: &str, wait: Duration) -> Reply {
    let until = Instant::now() + wait;
    loop {
        let is_over = Instant::now() > until;
        let mut has_news = true;
        let reply = with_job(inner, id, job, |job, _| {
            has_news = job.is_final() || !job.stream.is_empty() || job.status == "IN_QUEUE" || is_over;
            if !has_news {
                return Reply::empty();
            }
            Reply::json(200, json!({ "status": job.status, "stream": std::mem::take(&mut job.stream) }))
        });
        if has_news {
            return reply;
        }
        let _ = timeout(LOOK, inner.changed.notified()).await;
    }
}

fn cancel(inner: &Inner, id: &str, job: &str) -> Reply {
    let mut state = inner.state();
    let Some(endpoint) = state.endpoints.get_mut(id) else { return error(404, "endpoint not found") };
    if !endpoint.jobs.contains_key(job) {
        return error(404, "job not found");
    }
    end(endpoint, job, "CANCELLED");
    drop(state);
    inner.changed.notify_waiters();
    Reply::json(200, json!({ "id": job, "status": "CANCELLED" }))
}

fn retry(inner: &Inner, id: &str, job: &str) -> Reply {
    let mut state = inner.state();
    let Some(endpoint) = state.endpoints.get_mut(id) else { return error(404, "endpoint not found") };
    let Some(found) = endpoint.jobs.get_mut(job) else { return error(404, "job not found") };
    if !matches!(found.status, "FAILED" | "TIMED_OUT") {
        return error(400, "only failed and timed out jobs are retried");
    }
    *found = Job::new(std::mem::take(&mut found.body));
    endpoint.queue.push_back(job.to_owned());
    endpoint.ended.retried += 1;
    drop(state);
    inner.changed.notify_waiters();
    Reply::json(200, json!({ "id": job, "status": "IN_QUEUE" }))
}

fn purge(inner: &Inner, id: &str) -> Reply {
    let mut state = inner.state();
    let Some(endpoint) = state.endpoints.get_mut(id) else { return error(404, "endpoint not found") };
    let removed: Vec<String> = endpoint.queue.drain(..).collect();
    for job in &removed {
        endpoint.jobs.remove(job);
    }
    Reply::json(200, json!({ "removed": removed.len(), "status": "completed" }))
}

/// Ends a job from outside; its worker is told to stop it.
fn end(endpoint: &mut Endpoint, id: &str, status: &'static str) {
    endpoint.queue.retain(|queued| queued != id);
    let Some(job) = endpoint.jobs.get_mut(id).filter(|job| !job.is_final()) else { return };
    job.status = status;
    job.ended = Some(Instant::now());
    let worker = job.worker.clone();
    if let Some(worker) = worker.and_then(|worker| endpoint.worker(&worker)) {
        if worker.jobs.remove(id) {
            worker.to_stop.push(id.to_owned());
        }
        worker.idle_since = Instant::now();
    }
}

/// Ends jobs that ran for too long.
pub fn time_out(endpoint: &mut Endpoint) -> bool {
    let of_endpoint = endpoint.shown["timeout"].as_u64().unwrap_or(0);
    let is_over = |job: &Job| {
        let own = job.body.get("policy").and_then(|policy| policy["executionTimeout"].as_u64());
        // What 0 means is not known; here it is no limit.
        let limit = own.unwrap_or(of_endpoint);
        job.status == "IN_PROGRESS"
            && limit > 0
            && job.picked.is_some_and(|picked| picked.elapsed() > Duration::from_millis(limit))
    };
    let over: Vec<String> =
        endpoint.jobs.iter().filter(|(_, job)| is_over(job)).map(|(id, _)| id.clone()).collect();
    for id in &over {
        end(endpoint, id, "TIMED_OUT");
    }
    !over.is_empty()
}

/// The worker of this job is gone: it is tried again, once.
pub fn lost(endpoint: &mut Endpoint, id: &str) {
    let Some(job) = endpoint.jobs.get_mut(id).filter(|job| !job.is_final()) else { return };
    if job.retries == 0 {
        job.retries = 1;
        job.status = "IN_QUEUE";
        job.output = None;
        endpoint.queue.push_front(id.to_owned());
        return;
    }
    job.status = "FAILED";
    job.error = Some("job timed out after 1 retries".into());
    job.ended = Some(Instant::now());
    endpoint.ended.failed += 1;
}

/// Whether a path is one of the worker protocol.
pub fn is_of_workers(path: &str) -> bool {
    let operation = path.trim_start_matches("/v2/").split('/').nth(1).unwrap_or_default();
    matches!(operation, "job-take" | "job-take-batch" | "job-done" | "job-stream" | "ping" | "job-stop")
}

/// What a worker asks.
pub async fn of_workers(inner: &Arc<Inner>, call: Incoming) -> Response {
    let segments: Vec<&str> = call.path.trim_start_matches("/v2/").split('/').collect();
    let [id, operation, worker, ..] = segments[..] else { return error(404, "not found").into_response() };
    // The official worker appends parameters blindly, also where there is no query.
    let worker = worker.split('&').next().unwrap_or_default();
    let job = segments.get(3).map_or("", |job| job.split('&').next().unwrap_or_default());
    let is_known = {
        let mut state = inner.state();
        let found = state.endpoints.get_mut(id).and_then(|endpoint| endpoint.worker(worker));
        let is_known = found.as_ref().is_some_and(|worker| call.header("authorization") == Some(&worker.key));
        // Whoever asks is there.
        if let Some(worker) = found.filter(|worker| is_known && worker.stage == Stage::Initializing) {
            worker.stage = Stage::Ready;
            worker.idle_since = Instant::now();
            inner.changed.notify_waiters();
        }
        is_known
    };
    if !is_known {
        return refusal(Host::Queue, "invalid api key").into_response();
    }
    let reply = match operation {
        "job-take" => take(inner, id, worker, 1).await.map(|mut jobs| jobs.remove(0)),
        "job-take-batch" => {
            let size = call.query.iter().find(|(name, _)| name == "batch_size");
            let size = size.and_then(|(_, size)| size.parse().ok()).unwrap_or(1);
            take(inner, id, worker, size).await.map(Value::Array)
        }
        "job-stop" => stopped(inner, id, worker).await,
        "job-done" => {
            done(inner, id, worker, job, call.body.unwrap_or_default());
            Some(json!({}))
        }
        "job-stream" => {
            let chunk = call.body.unwrap_or_default();
            let mut state = inner.state();
            let endpoint = state.endpoints.get_mut(id);
            if let Some(job) =
                endpoint.and_then(|endpoint| endpoint.jobs.get_mut(job)).filter(|job| !job.is_final())
            {
                job.stream.push(chunk);
            }
            inner.changed.notify_waiters();
            Some(json!({}))
        }
        _ => Some(json!({})),
    };
    reply.map_or_else(Reply::empty, |body| Reply::json(200, body)).into_response()
}

/// Holds the worker until there is something for it.
async fn held<T>(inner: &Inner, mut look: impl FnMut(&mut State) -> Option<T>) -> Option<T> {
    let until = Instant::now() + inner.options.hold;
    loop {
        let found = look(&mut inner.state());
        if found.is_some() || Instant::now() > until {
            return found;
        }
        let _ = timeout(LOOK, inner.changed.notified()).await;
    }
}

async fn take(inner: &Inner, id: &str, worker: &str, most: usize) -> Option<Vec<Value>> {
    held(inner, |state| {
        let endpoint = state.endpoints.get_mut(id)?;
        let latest = endpoint.version;
        endpoint.worker(worker).filter(|worker| !worker.is_leaving && worker.version == latest)?;
        let count = most.min(endpoint.queue.len());
        let ids: Vec<String> = endpoint.queue.drain(..count).collect();
        let mut taken = Vec::new();
        for id in ids {
            let Some(job) = endpoint.jobs.get_mut(&id) else { continue };
            job.status = "IN_PROGRESS";
            job.worker = Some(worker.to_owned());
            job.picked = Some(Instant::now());
            let mut body = job.body.clone();
            body.remove("policy");
            body.insert("id".to_owned(), id.as_str().into());
            taken.push(Value::Object(body));
            endpoint.worker(worker)?.jobs.insert(id);
        }
        (!taken.is_empty()).then_some(taken)
    })
    .await
}

async fn stopped(inner: &Inner, id: &str, worker: &str) -> Option<Value> {
    let jobs = held(inner, |state| {
        let worker = state.endpoints.get_mut(id)?.worker(worker)?;
        let jobs = std::mem::take(&mut worker.to_stop);
        (!jobs.is_empty()).then_some(jobs)
    });
    Some(json!({ "jobsToStop": jobs.await? }))
}

/// A result, or the progress of a job that goes on.
fn done(inner: &Inner, id: &str, worker: &str, job_id: &str, body: Value) {
    let mut state = inner.state();
    let Some(endpoint) = state.endpoints.get_mut(id) else { return };
    let Some(job) = endpoint.jobs.get_mut(job_id).filter(|job| !job.is_final()) else { return };
    let output = body.get("output").cloned();
    if body["status"] == "IN_PROGRESS" {
        job.output = output;
        inner.changed.notify_waiters();
        return;
    }
    let error = body.get("error").filter(|error| !matches!(error, Value::Null) && **error != "").cloned();
    job.output = output;
    job.ended = Some(Instant::now());
    match error {
        Some(error) => {
            job.status = "FAILED";
            job.error = Some(error);
            endpoint.ended.failed += 1;
        }
        None => {
            job.status = "COMPLETED";
            endpoint.ended.completed += 1;
        }
    }
    if let Some(worker) = endpoint.worker(worker) {
        worker.jobs.remove(job_id);
        worker.idle_since = Instant::now();
        if body["stopPod"] == true {
            worker.is_leaving = true;
            if let Some(running) = &mut worker.running {
                running.stop();
            }
        }
    }
    inner.changed.notify_waiters();
}

/// A request to a load-balanced endpoint: `/lb/ID/…`.
pub async fn balanced(inner: &Arc<Inner>, request: Request<Body>) -> Response {
    let path =
        request.uri().path_and_query().map_or("", |path| path.as_str()).trim_start_matches("/lb/").to_owned();
    let (id, rest) = path.split_once('/').map_or((path.as_str(), ""), |(id, rest)| (id, rest));
    let key =
        request.headers().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match key.strip_prefix("Bearer ").unwrap_or(key) {
        KEY => {}
        "" => return refusal(Host::Queue, "no token provided").into_response(),
        _ => return refusal(Host::Queue, "invalid api key").into_response(),
    }
    let waiting = Waiting::new(inner, id);
    let until = Instant::now() + FOR_A_WORKER;
    let (worker, port) = loop {
        let found = {
            let mut state = inner.state();
            let Some(endpoint) = state.endpoints.get_mut(id) else {
                return error(404, "endpoint not found").into_response();
            };
            if endpoint.is_queue() {
                return error(400, "not allowed for QB API").into_response();
            }
            least_busy(endpoint)
        };
        match found {
            Some(found) => break found,
            None if Instant::now() > until => {
                return error(400, "timed out waiting for worker").into_response();
            }
            None => drop(timeout(LOOK, inner.changed.notified()).await),
        }
    };
    let answer = forwarded(inner, request, &format!("http://127.0.0.1:{port}/{rest}"), &worker).await;
    if let Some(worker) = inner.state().endpoints.get_mut(id).and_then(|endpoint| endpoint.worker(&worker)) {
        worker.requests -= 1;
        worker.idle_since = Instant::now();
    }
    drop(waiting);
    answer
}

/// A ready worker, which has one request more now.
fn least_busy(endpoint: &mut Endpoint) -> Option<(String, u16)> {
    let latest = endpoint.version;
    let ready = endpoint.workers.iter_mut().filter(|worker| {
        worker.stage == Stage::Ready
            && !worker.is_leaving
            && worker.version == latest
            && worker.port.is_some()
    });
    let worker = ready.min_by_key(|worker| worker.requests)?;
    worker.requests += 1;
    Some((worker.id.clone(), worker.port?))
}

async fn forwarded(inner: &Inner, request: Request<Body>, url: &str, worker: &str) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return error(400, "the request broke off").into_response() };
    let mut headers = parts.headers;
    for name in ["host", "connection", "transfer-encoding", "content-length"] {
        headers.remove(name);
    }
    let sent = inner.client.request(parts.method, url).headers(headers).body(body.to_bytes()).send().await;
    let Ok(answer) = sent else { return error(502, "bad gateway").into_response() };
    let mut response = Response::builder().status(answer.status()).header("x-runpod-worker-id", worker);
    for (name, value) in answer.headers() {
        if !matches!(name.as_str(), "connection" | "transfer-encoding" | "content-length") {
            response = response.header(name, value);
        }
    }
    response.body(Body::from_stream(answer.bytes_stream())).unwrap()
}

/// A request that asks for a worker as long as it lives, also when its sender leaves.
struct Waiting(Arc<Inner>, String);

impl Waiting {
    fn new(inner: &Arc<Inner>, id: &str) -> Self {
        if let Some(endpoint) = inner.state().endpoints.get_mut(id) {
            endpoint.requests += 1;
        }
        inner.changed.notify_waiters();
        Self(inner.clone(), id.to_owned())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(endpoint) = self.0.state().endpoints.get_mut(&self.1) {
            endpoint.requests = endpoint.requests.saturating_sub(1);
        }
    }
}
