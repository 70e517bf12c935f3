//! The API pages: `/docs` with a vendored Swagger UI that works offline, and `/openapi.json`.
use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{Html, IntoResponse as _, Response},
};
use flash_text::Truncated;
use http::{HeaderValue, header};
use serde_json::json;

use super::{error::Refusal, extract::Segments, respond::json_text, state::GatewayState};

/// From the `swagger-ui-dist` package, unchanged; its licence is in the same directory.
const SCRIPT: &[u8] = include_bytes!("../../assets/swagger-ui/swagger-ui-bundle.js");
const STYLE: &[u8] = include_bytes!("../../assets/swagger-ui/swagger-ui.css");
const PAGE: &str = include_str!("../../assets/swagger-ui/index.html");

pub(super) async fn index(State(state): State<Arc<GatewayState>>) -> Result<Response, Refusal> {
    let release = state.live()?;
    let app = &release.manifest.app;
    Ok(Json(json!({ "app": app.name, "version": app.version, "docs": "/docs" })).into_response())
}

/// Not allowed in frames, where another page could trick users into clicking its buttons.
pub(super) async fn page() -> Response {
    let unframed = [
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("frame-ancestors 'none'")),
        (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    ];
    (unframed, Html(PAGE)).into_response()
}

pub(super) async fn file(Segments(name): Segments<String>) -> Result<Response, Refusal> {
    let (kind, bytes) = match name.as_str() {
        "swagger-ui-bundle.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "swagger-ui.css" => ("text/css; charset=utf-8", STYLE),
        _ => {
            return Err(Refusal::not_found(format!(
                "no page at /docs/{}; did you mean `/docs`?",
                Truncated(&name)
            )));
        }
    };
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], bytes).into_response())
}

pub(super) async fn openapi(State(state): State<Arc<GatewayState>>) -> Result<Response, Refusal> {
    Ok(json_text(state.live()?.openapi.clone()))
}
