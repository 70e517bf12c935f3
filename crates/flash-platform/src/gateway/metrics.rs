//! Metrics for Prometheus, at `/metrics` unless the app has that path, and always at `/_flash/metrics`.
use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{Method, header};

use super::{error::Refusal, state::GatewayState};
use crate::{
    metrics::{CONTENT_TYPE, TypeNumbers, render},
    release::Release,
};

/// Where monitoring looks for them.
pub(super) const PATH: &str = "/metrics";

/// `GET /_flash/metrics`
pub(super) async fn all(State(state): State<Arc<GatewayState>>) -> Result<Response, Refusal> {
    Ok(of_release(&*state.live()?))
}

/// The answer at [`PATH`].
pub(super) fn answer(release: &Release, method: &Method) -> Result<Response, Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(of_release(release)),
        _ => Err(Refusal::method_not_allowed(method, PATH, "GET, HEAD".to_owned())),
    }
}

fn of_release(release: &Release) -> Response {
    let text = render(release.pools().map(|pool| TypeNumbers::of(pool)).collect());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()
}
