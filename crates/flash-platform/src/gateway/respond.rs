//! Answers that several handlers give.
use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use flash_protocol::wire::job::JobObject;
use http::{HeaderValue, header::CONTENT_TYPE};
use serde::Serialize;

use super::error::Refusal;

/// A JSON answer from text that is JSON already.
pub(super) fn json_text(text: String) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// A job with everything that clients may see of it.
pub(super) fn job_response(job: &JobObject) -> Result<Response, Refusal> {
    let text = serde_json::to_string(job).map_err(|error| Refusal::bad_request(error.to_string()))?;
    Ok(json_text(text))
}

/// A job's ID and current status.
pub(super) fn job_summary(id: &str, status: &str) -> Response {
    #[derive(Serialize)]
    struct JobSummary<'a> {
        id: &'a str,
        status: &'a str,
    }
    Json(JobSummary { id, status }).into_response()
}
