//! What the buttons do: the same as the queue API and the commands, then a page that shows it.
use std::sync::Arc;

use axum::{Extension, Form, body::Body, extract::State, response::Response};
use flash_dashboard::view::Page;
use flash_protocol::wire::{RawJson, envelope::Envelope, identity::FunctionName, job::Policy, submission};
use http::HeaderMap;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{client_api, error::Refusal, extract::Segments, request_id::RequestId, state::GatewayState},
    refused,
    request::queue_with,
    to,
};
use crate::schedule::ScheduleError;

/// A job in the path of a request.
type Job = Segments<(String, String)>;

/// The page of a job's request.
fn page_of(state: &GatewayState, worker_type: &str, job: &str) -> String {
    let found = queue_with(state, worker_type, job);
    let request = found.and_then(|(queue, id)| queue.request_of(id));
    format!("{}/{}", Page::Requests.path(), request.as_deref().unwrap_or(job))
}

/// The page after a change, or why there was none.
fn then(
    state: &GatewayState,
    headers: &HeaderMap,
    outcome: Result<Response, Refusal>,
    next: impl FnOnce() -> String,
) -> Response {
    match outcome {
        Ok(_) => to(&next()),
        Err(refusal) => refused(state, headers, "That did not work", &refusal),
    }
}

pub(super) async fn cancel(State(state): State<Arc<GatewayState>>, job: Job, headers: HeaderMap) -> Response {
    let Segments((worker_type, id)) = &job;
    let next = page_of(&state, worker_type, id);
    let outcome = client_api::cancel(State(state.clone()), job).await;
    then(&state, &headers, outcome, || next)
}

pub(super) async fn retry(State(state): State<Arc<GatewayState>>, job: Job, headers: HeaderMap) -> Response {
    let Segments((worker_type, id)) = &job;
    let next = page_of(&state, worker_type, id);
    let outcome = client_api::retry(State(state.clone()), job).await;
    then(&state, &headers, outcome, || next)
}

pub(super) async fn requeue(
    State(state): State<Arc<GatewayState>>,
    job: Job,
    headers: HeaderMap,
) -> Response {
    let outcome = client_api::requeue_dead(State(state.clone()), job).await;
    then(&state, &headers, outcome, || Page::Failed.path().to_owned())
}

pub(super) async fn requeue_all(
    State(state): State<Arc<GatewayState>>,
    worker_type: Segments<String>,
    headers: HeaderMap,
) -> Response {
    let outcome = client_api::requeue_all_dead(State(state.clone()), worker_type).await;
    then(&state, &headers, outcome, || Page::Failed.path().to_owned())
}

/// A job with an input that somebody wrote.
#[derive(Deserialize)]
pub(super) struct Input {
    /// `None` for a program.
    function: Option<String>,
    /// JSON.
    input: String,
}

pub(super) async fn run(
    State(state): State<Arc<GatewayState>>,
    Extension(request_id): Extension<RequestId>,
    worker_type: Segments<String>,
    headers: HeaderMap,
    Form(Input { function, input }): Form<Input>,
) -> Response {
    let next = format!("{}/{}", Page::Requests.path(), request_id.as_str());
    let outcome = match read(&input) {
        Ok(input) => {
            let envelope =
                Envelope { function: function.map(|name| FunctionName::new(&name)), ..Envelope::default() };
            let body = submission::body(&envelope, &input, None, Policy::default());
            let (state, none) = (State(state.clone()), HeaderMap::new());
            client_api::run(state, Extension(request_id), worker_type, none, Body::from(body)).await
        }
        Err(refusal) => Err(refusal),
    };
    then(&state, &headers, outcome, || next)
}

/// An input as JSON.
fn read(text: &str) -> Result<RawJson, Refusal> {
    RawValue::from_string(text.trim().to_owned())
        .map_err(|error| Refusal::bad_request(format!("the input is not valid JSON: {error}")))
}

pub(super) async fn run_schedule(
    State(state): State<Arc<GatewayState>>,
    Segments(function): Segments<String>,
    headers: HeaderMap,
) -> Response {
    let outcome = state.dashboard.schedules.run_now(&function, Timestamp::now()).await;
    scheduled(&state, &headers, outcome.map(drop))
}

pub(super) async fn pause_schedule(
    State(state): State<Arc<GatewayState>>,
    Segments(function): Segments<String>,
    headers: HeaderMap,
) -> Response {
    let outcome = state.dashboard.schedules.set_paused(&function, true, Timestamp::now());
    scheduled(&state, &headers, outcome)
}

pub(super) async fn resume_schedule(
    State(state): State<Arc<GatewayState>>,
    Segments(function): Segments<String>,
    headers: HeaderMap,
) -> Response {
    let outcome = state.dashboard.schedules.set_paused(&function, false, Timestamp::now());
    scheduled(&state, &headers, outcome)
}

fn scheduled(state: &GatewayState, headers: &HeaderMap, outcome: Result<(), ScheduleError>) -> Response {
    match outcome {
        Ok(()) => to(Page::Schedules.path()),
        Err(error) => refused(state, headers, "That did not work", &Refusal::bad_request(error.to_string())),
    }
}
