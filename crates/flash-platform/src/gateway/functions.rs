//! All paths that are not fixed: the app's routes, and `run_sync` and `runsync` of each function.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use flash_protocol::{
    ErrorKind, FieldError,
    manifest::FunctionEntry,
    wire::{envelope::Envelope, identity},
};
use flash_text::Truncated;
use http::{HeaderMap, Method, StatusCode};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::{
    coding::check_coding,
    costs, dashboard, docs,
    error::Refusal,
    input::check_input,
    limits::MAX_RUNSYNC_BYTES,
    metrics, nesting, openai,
    proxy::{self, Callee},
    queue_api,
    request_id::{RequestId, trace_parent},
    respond::job_response,
    state::GatewayState,
    submission::{Arrived, JobOptions, submit_and_wait},
};
use crate::{
    interface::{NoRoute, Target},
    large_input::work_on,
    queue::{Abandoned, JobId},
    release::{Release, shown},
    traces::Route,
};

/// The answer, with the request's cost so far in its headers.
pub(super) async fn dispatch(
    State(state): State<Arc<GatewayState>>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Response {
    let mut response = answer(&state, id.as_str(), request).await.into_response();
    costs::say(&state.billing, id.as_str(), &mut response);
    response
}

async fn answer(state: &GatewayState, id: &str, request: Request) -> Result<Response, Refusal> {
    if request.uri().path().starts_with("/v2/") {
        return Err(queue_api::unknown(request.uri().path()));
    }
    let release = state.live()?;
    let (method, path) = (request.method(), request.uri().path());
    let target = match release.routes.find(method, path) {
        Ok(target) => target,
        // A router may have the root; otherwise it is the platform's.
        Err(NoRoute::UnknownPath { .. }) if path == "/" => {
            return match dashboard::is_for_browser(method, request.headers()) {
                true => Ok(dashboard::to_overview()),
                false => docs::index(&release, method),
            };
        }
        // So is this one, unless the app has it.
        Err(NoRoute::UnknownPath { .. }) if path == metrics::PATH => {
            return metrics::answer(state, method).await;
        }
        Err(none) => return Err(no_route(none, method, path)),
    };
    if state.traces.is_some() {
        say_route(&request, &release, &target);
    }
    match target {
        Target::Route { function, path } => {
            let function = release.function(function);
            let name = function.call_name();
            let callee = Callee { name: &name, takes_raw_body: function.raw_body, streams: function.streams };
            proxy::to_worker_type(&release, &function.worker, Some(callee), id, &path, request).await
        }
        Target::Command { worker, path } | Target::Router { worker, path } => {
            proxy::to_worker_type(&release, &worker, None, id, &path, request).await
        }
        Target::OpenAi { path } => openai::answer(state, &release, None, id, &path, request).await,
        Target::RunSync { function } => {
            let (headers, body) = split(request)?;
            let arrived = Arrived::read(&state.budget, body, MAX_RUNSYNC_BYTES).await?;
            // No body at all is an empty input: `curl -X POST` works for a function without arguments.
            let text = if arrived.body.is_empty() { b"{}" } else { arrived.body.as_ref() };
            let input = work_on(text.len(), || {
                nesting::check(text, 0)?;
                parse(text)
            })?;
            drop(arrived);
            run(&release, function, id, &headers, input).await
        }
        Target::RunSyncWrapped { function } => {
            let (headers, body) = split(request)?;
            let arrived = Arrived::read(&state.budget, body, MAX_RUNSYNC_BYTES).await?;
            let wrapped: Wrapped = work_on(arrived.body.len(), || {
                nesting::check(&arrived.body, 1)?;
                parse(&arrived.body)
            })?;
            drop(arrived);
            let input = wrapped.input(&release.function(function).worker)?;
            run(&release, function, id, &headers, input).await
        }
    }
}

/// Names the request's span by what is called, which are fewer than the paths.
fn say_route(request: &Request, release: &Release, target: &Target) {
    match target {
        Target::Route { function, .. }
        | Target::RunSync { function }
        | Target::RunSyncWrapped { function } => {
            Route::say(request, || shown(release.function(*function)));
        }
        Target::Command { .. } | Target::Router { .. } | Target::OpenAi { .. } => {}
    }
}

fn no_route(none: NoRoute, method: &Method, path: &str) -> Refusal {
    match none {
        NoRoute::UnknownPath { near } => Refusal::not_found(format!("no route at {}{near}", Truncated(path))),
        NoRoute::WrongMethod { allowed } => Refusal::method_not_allowed(method, path, allowed),
    }
}

/// The body of `runsync` of a function. What the queue API takes beside the input must not be lost without a word.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wrapped {
    input: Option<Box<RawValue>>,
    webhook: Option<IgnoredAny>,
    policy: Option<IgnoredAny>,
    s3_config: Option<IgnoredAny>,
}

impl Wrapped {
    fn input(self, worker: &str) -> Result<Box<RawValue>, Refusal> {
        let options = [("/webhook", self.webhook), ("/policy", self.policy), ("/s3Config", self.s3_config)];
        let given = options.iter().filter(|(_, given)| given.is_some());
        let mut wrong: Vec<FieldError> = given
            .map(|(path, _)| {
                FieldError::new(*path, format!("not taken here: send the job to /v2/{worker}/runsync"))
            })
            .collect();
        match self.input {
            Some(input) if wrong.is_empty() => return Ok(input),
            Some(_) => {}
            None => wrong.insert(0, FieldError::new("/input", "missing")),
        }
        Err(Refusal::unprocessable(wrong))
    }
}

fn split(request: Request) -> Result<(HeaderMap, Body), Refusal> {
    let (parts, body) = request.into_parts();
    check_coding(&parts.headers)?;
    Ok((parts.headers, body))
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        Refusal::bad_request(format!("the body is not valid JSON: {}", flash_protocol::wire::fault(&error)))
    })
}

/// Runs a queue-based function and answers with its job. A job that did not complete is an error.
async fn run(
    release: &Release,
    index: usize,
    id: &str,
    headers: &HeaderMap,
    input: Box<RawValue>,
) -> Result<Response, Refusal> {
    check_input(release, index, &input)?;
    let function: &FunctionEntry = release.function(index);
    let (Some(pool), Some(worker)) =
        (release.pool(&function.worker), release.manifest.worker(&function.worker))
    else {
        return Err(Refusal::not_found(format!("no worker type named `{}`", function.worker)));
    };
    let Some(queue) = pool.queue() else {
        return Err(Refusal::not_found(format!("`{}` does not take jobs", function.worker)));
    };
    let envelope = Envelope {
        function: Some(function.call_name().into()),
        request_id: identity::RequestId::parse(id),
        traceparent: trace_parent(headers),
        ..Envelope::default()
    };
    let wait = Duration::from_secs(worker.execution_timeout_seconds.into()) + worker.start_allowance();
    let started = Instant::now();
    let job = submit_and_wait(queue, input, envelope, JobOptions::default(), wait, Abandoned::Stops).await?;
    let stage = format!("{}/{}", function.worker, function.call_name());
    match job.status {
        flash_protocol::wire::job::JobStatus::Completed => job_response(&job),
        status if status.is_final() => Err(Refusal::of_job(job).at_stage(stage)),
        _ => {
            // The caller gets an answer now, so the job is cancelled to free its worker.
            if let Some(id) = JobId::parse(&job.id) {
                let _ = queue.cancel(id);
            }
            let message = format!("no result within {} s", started.elapsed().as_secs());
            Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, ErrorKind::Timeout, message).at_stage(stage))
        }
    }
}
