//! Metrics for Prometheus, at `/metrics` unless the app has that path, and always at `/_flash/metrics`.
use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{Method, header};

use super::{error::Refusal, state::GatewayState};
use crate::{
    metrics::{CONTENT_TYPE, Numbers, ProcessNumbers, TypeNumbers, render},
    overview::JobMemory,
};

/// Where monitoring looks for them.
pub(super) const PATH: &str = "/metrics";

/// `GET /_flash/metrics`. Also while nothing is live: whoever watches the platform wants to know that it runs.
pub(super) async fn all(State(state): State<Arc<GatewayState>>) -> Response {
    now(&state).await
}

/// The answer at [`PATH`].
pub(super) async fn answer(state: &GatewayState, method: &Method) -> Result<Response, Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(now(state).await),
        _ => Err(Refusal::method_not_allowed(method, PATH, "GET, HEAD".to_owned())),
    }
}

async fn now(state: &GatewayState) -> Response {
    let live = state.releases.live();
    let budget = &state.budget;
    let job_memory = JobMemory { held_bytes: budget.held() as u64, limit_bytes: budget.limit() as u64 };
    let numbers = Numbers {
        live: live.as_ref().map(|live| live.number),
        types: live.iter().flat_map(|live| live.pools()).map(|pool| TypeNumbers::of(pool)).collect(),
        bills: state.billing.bill(),
        job_memory: Some(job_memory),
        gpus: state.isolation.gpu_overview().await,
        posts: state.posts.all().to_vec(),
        process: ProcessNumbers::read(),
    };
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], render(numbers)).into_response()
}
