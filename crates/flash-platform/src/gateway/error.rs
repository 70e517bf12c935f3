//! Refusals and failures as HTTP answers.
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use flash_protocol::{
    ErrorKind, FieldError, WireError,
    wire::job::{ErrorText, JobObject, JobStatus},
};
use flash_text::{Truncated, cut};
use http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use super::limits;
use crate::queue::{Failing, SubmitError};

/// The maximum size of an error answer, so that small requests cannot cause large answers.
const MAX_BODY_BYTES: usize = 16_000;
/// Bytes of its message, which may contain several texts that are each already cut.
const MAX_MESSAGE_BYTES: usize = 2_000;
/// Bytes of the path and the message of each field.
const MAX_FIELD_BYTES: usize = 300;
/// Maximum number of fields, and of causes.
const MAX_FIELDS: usize = 32;
const MAX_CAUSES: usize = 8;
/// Bytes of a body in addition to the content of a [`WireError`].
const REST_BYTES: usize = 500;

/// The header with the worker of an answer, and the worker that a request asks for.
pub(super) const WORKER_ID: &str = "x-runpod-worker-id";

/// Tells clients of OpenAI whether to send a request again.
const SHOULD_RETRY: &str = "x-should-retry";

/// Whose error bodies an answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Flash,
    OpenAi,
}

/// An error answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: Box<WireError>,
    job: Option<(String, JobStatus)>,
    /// For 405: the allowed methods.
    allow: Option<String>,
    /// For 429: when to come again.
    retry_after: Option<u32>,
    /// The provider's error code, if it has one.
    code: Option<&'static str>,
    /// The worker that the request was given to.
    served_by: Option<String>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: String,
    kind: ErrorKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<JobStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    fields: &'a [FieldError],
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::of(status, WireError::new(kind, message))
    }

    pub(crate) fn of(status: StatusCode, mut error: WireError) -> Self {
        bound(&mut error);
        Self::whole(status, error)
    }

    /// Without a length limit, for errors of functions.
    fn whole(status: StatusCode, error: WireError) -> Self {
        let error = Box::new(error);
        Self { status, error, job: None, allow: None, retry_after: None, code: None, served_by: None }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidInput, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, message)
    }

    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("the body is over {}", limits::shown(limit));
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::InvalidInput, message)
    }

    /// The fields that are missing or wrong.
    pub(crate) fn unprocessable(mut fields: Vec<FieldError>) -> Self {
        bound_fields(&mut fields);
        Self::of(StatusCode::UNPROCESSABLE_ENTITY, flash_protocol::Error::invalid_fields(fields).into_wire())
    }

    pub(crate) fn method_not_allowed(method: &http::Method, path: &str, allow: String) -> Self {
        let message = format!("{method} is not allowed at {}; allowed: {allow}", Truncated(path));
        let mut refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Refused, message);
        refusal.allow = Some(allow);
        refusal
    }

    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::Refused, message);
        refusal.retry_after = Some(1);
        refusal
    }

    /// Sets `Retry-After`.
    pub(crate) fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// For temporary failures that are not the client's fault.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Refused, message);
        refusal.retry_after = Some(1);
        refusal
    }

    /// The message for the client.
    pub(super) fn message(&self) -> &str {
        &self.error.message
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// A job that did not complete, for callers that wait for its result.
    pub(crate) fn of_job(job: JobObject) -> Self {
        let mut error = match job.status {
            JobStatus::Cancelled => WireError::new(ErrorKind::Cancelled, "the job was cancelled"),
            _ => ErrorText::parse(job.error.as_deref().unwrap_or_default()),
        };
        error.worker_id = error.worker_id.or(job.worker_id).filter(|worker| !worker.is_empty());
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut refusal = Self::whole(status, error);
        refusal.job = Some((job.id, job.status));
        refusal
    }

    /// Sets the stage, unless it is already set.
    pub(crate) fn at_stage(mut self, stage: String) -> Self {
        self.error.stage.get_or_insert(stage);
        self
    }

    /// Adds the provider's error code.
    pub(crate) fn coded(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Adds the worker of the request, in the body and in the header that every answer of a worker has.
    pub(crate) fn served_by(mut self, worker: &str) -> Self {
        self.error.worker_id.get_or_insert_with(|| worker.to_owned());
        self.served_by = Some(worker.to_owned());
        self
    }

    /// The answer, with the request ID unless one is already set.
    fn render(mut self, request_id: &str, shape: Shape) -> Response {
        self.error.request_id.get_or_insert_with(|| request_id.to_owned());
        if self.job.is_none() {
            fit(&mut self.error);
        }
        let Self { status, error, job, allow, retry_after, code, served_by } = self;
        let body = Body {
            error: error.chain(),
            kind: error.kind,
            code,
            id: job.as_ref().map(|(id, _)| id.as_str()),
            status: job.as_ref().map(|(_, status)| *status),
            stage: error.stage.as_deref(),
            worker_id: error.worker_id.as_deref(),
            request_id: error.request_id.as_deref(),
            fields: &error.fields,
        };
        let mut response = match shape {
            Shape::Flash => (status, axum::Json(body)).into_response(),
            Shape::OpenAi => (status, axum::Json(openai_body(status, &error, code))).into_response(),
        };
        let headers = response.headers_mut();
        // The worker may have begun, and clients of OpenAI send a request twice more after a 5xx.
        let has_begun = matches!(
            status,
            StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
        );
        if shape == Shape::OpenAi && has_begun {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(allow) = allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
            headers.insert(header::ALLOW, allow);
        }
        if let Some(worker) = served_by.and_then(|worker| HeaderValue::from_str(&worker).ok()) {
            headers.insert(WORKER_ID, worker);
        }
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An error as clients of OpenAI read it. The field is that of the first finding.
fn openai_body(status: StatusCode, error: &WireError, code: Option<&'static str>) -> Value {
    let kind = if status.is_server_error() { "server_error" } else { "invalid_request_error" };
    let param = error.fields.first().map(|field| field.path.trim_start_matches('/'));
    json!({ "error": { "message": error.chain(), "type": kind, "param": param, "code": code } })
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full { .. } | SubmitError::BudgetExceeded(_) => {
                Self::too_many(format!("the queue is full: {error}"))
            }
            SubmitError::KeyInUse(_) => {
                Self::new(StatusCode::CONFLICT, ErrorKind::Refused, error.to_string())
            }
            SubmitError::Ended => Self::unavailable(error.to_string()),
            SubmitError::Store(failing) => failing.into(),
        }
    }
}

impl From<Failing> for Refusal {
    fn from(failing: Failing) -> Self {
        Self::unavailable(format!("{failing}; try again"))
    }
}

/// Cuts text that may come from a client.
fn bound(error: &mut WireError) {
    cut(&mut error.message, MAX_MESSAGE_BYTES);
    error.causes.truncate(MAX_CAUSES);
    error.causes.iter_mut().for_each(|cause| cut(cause, MAX_FIELD_BYTES));
    bound_fields(&mut error.fields);
    for text in [&mut error.stage, &mut error.worker_id, &mut error.request_id].into_iter().flatten() {
        cut(text, MAX_FIELD_BYTES);
    }
}

fn bound_fields(fields: &mut Vec<FieldError>) {
    fields.truncate(MAX_FIELDS);
    for field in fields {
        cut(&mut field.path, MAX_FIELD_BYTES);
        cut(&mut field.message, MAX_FIELD_BYTES);
    }
}

/// Cuts more until it fits as JSON, where a byte may take six.
fn fit(error: &mut WireError) {
    bound(error);
    let mut limit = MAX_MESSAGE_BYTES;
    while limit > 0 && serde_json::to_vec(error).is_ok_and(|json| json.len() > MAX_BODY_BYTES - REST_BYTES) {
        if !error.fields.is_empty() {
            error.fields.truncate(error.fields.len() / 2);
            continue;
        }
        limit /= 2;
        error.causes.clear();
        let names = [&mut error.stage, &mut error.worker_id, &mut error.request_id];
        names.into_iter().flatten().chain([&mut error.message]).for_each(|text| cut(text, limit));
    }
}

/// A refusal without its request ID, which the layer around the handlers adds.
#[derive(Clone)]
struct Unrendered(Arc<Mutex<Option<Refusal>>>);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Unrendered(Arc::new(Mutex::new(Some(self)))));
        response
    }
}

/// Writes the body of a refusal and keeps its headers; other answers are unchanged.
pub(super) fn rendered(mut response: Response, request_id: &str, shape: impl FnOnce() -> Shape) -> Response {
    let Some(Unrendered(refusal)) = response.extensions_mut().remove::<Unrendered>() else { return response };
    let refusal = refusal.lock().take();
    let Some(refusal) = refusal else { return response };
    let mut whole = refusal.render(request_id, shape());
    whole.headers_mut().extend(response.into_parts().0.headers);
    whole
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn answered(refusal: Refusal) -> String {
        let response = rendered(refusal.into_response(), "r1", || Shape::Flash);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn no_refusal_is_larger_than_16_kb_whatever_a_client_sent() {
        // Each of these bytes is six in JSON.
        let long = "\u{1}".repeat(9_000_000);
        let findings = |count: usize, text: &str| {
            let mut finding = FieldError::new("", "");
            (finding.path, finding.message) = (text.to_owned(), text.to_owned());
            vec![finding; count]
        };
        let mut nested = WireError::new(ErrorKind::InvalidInput, long.clone());
        nested.causes = vec![long.clone(); 3];
        nested.stage = Some(long.clone());
        nested.request_id = Some(long.clone());
        for refusal in [
            Refusal::bad_request(long.clone()),
            Refusal::unprocessable(findings(32, &long)),
            Refusal::unprocessable(findings(100_000, "short")),
            Refusal::method_not_allowed(&http::Method::PUT, &long, "GET".to_owned()),
            Refusal::of(StatusCode::BAD_REQUEST, nested),
            Refusal::not_found("near").at_stage(long.clone()).served_by(&long),
        ] {
            let body = answered(refusal).await;
            assert!(body.len() <= MAX_BODY_BYTES, "{} bytes: {}", body.len(), &body[..200]);
            let json: Value = serde_json::from_str(&body).unwrap();
            assert!(!json["error"].as_str().unwrap().is_empty());
        }
    }

    #[tokio::test]
    async fn clients_of_openai_read_their_own_shape_and_do_not_repeat_what_may_have_begun() {
        let answered = |status: StatusCode| {
            let mut error = WireError::new(ErrorKind::NotFound, "no such model");
            error.fields = vec![FieldError::new("/model", "no such model")];
            let refusal = Refusal::of(status, error).coded("model_not_found");
            rendered(refusal.into_response(), "r1", || Shape::OpenAi)
        };
        for (status, should_retry) in [(404, None), (502, Some("false")), (503, None), (504, Some("false"))] {
            let response = answered(StatusCode::from_u16(status).unwrap());
            let found = response.headers().get(SHOULD_RETRY).map(|value| value.to_str().unwrap().to_owned());
            assert_eq!(found.as_deref(), should_retry, "{status}");
        }
        let body = answered(StatusCode::NOT_FOUND).into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let error = json!({
            "message": "no such model", "type": "invalid_request_error", "param": "model", "code": "model_not_found"
        });
        assert_eq!(body, json!({ "error": error }));
    }

    #[tokio::test]
    async fn an_ordinary_refusal_is_whole() {
        let fields =
            (0..32).map(|at| FieldError::new(format!("/input/{at}"), "x".repeat(200))).collect::<Vec<_>>();
        let json: Value = serde_json::from_str(&answered(Refusal::unprocessable(fields)).await).unwrap();
        assert_eq!(json["fields"].as_array().unwrap().len(), 32);
        assert_eq!(json["fields"][31]["message"].as_str().unwrap().len(), 200);
    }
}
