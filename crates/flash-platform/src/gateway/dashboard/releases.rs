//! The releases of an environment, and going back to one. Without a history, as under `flash run`, there is no such page.
use std::sync::Arc;

use axum::{Form, extract::State, response::Response};
use flash_dashboard::view::Page;
use flash_protocol::ErrorKind;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{
    super::{
        dashboard_state::{ReleaseHistory, Rollback},
        error::Refusal,
        extract::Segments,
        state::GatewayState,
    },
    frame::frame,
    html, refused, to,
};

fn history(state: &GatewayState) -> Result<&dyn ReleaseHistory, Refusal> {
    let history = state.dashboard.options.releases.as_deref();
    history.ok_or_else(|| Refusal::not_found("there are no releases here: only an environment has them"))
}

/// `GET /_flash/releases`
pub(super) async fn page(State(state): State<Arc<GatewayState>>, headers: HeaderMap) -> Response {
    let found = async { history(&state)?.latest().await.map_err(failed) };
    match found.await {
        Ok(view) => html(StatusCode::OK, flash_dashboard::releases(&frame(&state, &headers), &view)),
        Err(refusal) => refused(&state, &headers, "No releases", &refusal),
    }
}

/// `GET /_flash/releases/{number}`: what going back to it would change.
pub(super) async fn way_back(
    State(state): State<Arc<GatewayState>>,
    Segments(number): Segments<String>,
    headers: HeaderMap,
) -> Response {
    let found = async { history(&state)?.way_back(parsed(&number)?).await.map_err(conflict) };
    match found.await {
        Ok(view) => html(StatusCode::OK, flash_dashboard::way_back(&frame(&state, &headers), &view)),
        Err(refusal) => refused(&state, &headers, "No way back", &refusal),
    }
}

/// What was confirmed.
#[derive(Deserialize)]
pub(super) struct Confirmed {
    /// The release that was live when the plan was shown; absent: none was.
    base: Option<u64>,
    /// Whether callers may break.
    #[serde(default)]
    allow_breaking: bool,
}

/// `POST /_flash/rollback/{number}`
pub(super) async fn roll_back(
    State(state): State<Arc<GatewayState>>,
    Segments(number): Segments<String>,
    headers: HeaderMap,
    Form(Confirmed { base, allow_breaking }): Form<Confirmed>,
) -> Response {
    let done = async {
        let wanted = Rollback { to: parsed(&number)?, base, allow_breaking };
        history(&state)?.roll_back(wanted).await.map_err(conflict)
    };
    match done.await {
        Ok(()) => to(Page::Releases.path()),
        Err(refusal) => refused(&state, &headers, "That did not work", &refusal),
    }
}

fn parsed(number: &str) -> Result<u64, Refusal> {
    let message = || Refusal::not_found("a release has a number, such as 3");
    number.parse().map_err(|_| message())
}

fn failed(reason: String) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::NoWorker, reason)
}

fn conflict(reason: String) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, ErrorKind::Refused, reason)
}
