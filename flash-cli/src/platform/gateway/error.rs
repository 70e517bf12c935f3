//! Refusals and failures as HTTP answers.
use std::sync::{Arc, Mutex, PoisonError};

use axum::response::{IntoResponse, Response};
use flash_sdk::{
    ErrorKind, FieldError, WireError,
    wire::job::{ErrorText, JobObject, JobStatus},
};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

/// The header that names the worker of an answer, and the one that a request wants.
pub(super) const WORKER_ID: &str = "x-runpod-worker-id";

/// A request that gets no ordinary answer.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    error: Box<WireError>,
    job: Option<(String, JobStatus)>,
    /// For 405: what is allowed.
    allow: Option<String>,
    /// For 429: when to come again.
    retry_after: Option<u32>,
    /// The provider's name of this refusal, where it has one.
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

    pub(crate) fn of(status: StatusCode, error: WireError) -> Self {
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
        let message = format!("the body is over {} MB", limit / 1_000_000);
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::InvalidInput, message)
    }

    /// The fields that do not fit.
    pub(crate) fn unprocessable(fields: Vec<FieldError>) -> Self {
        Self::of(StatusCode::UNPROCESSABLE_ENTITY, flash_sdk::Error::invalid_fields(fields).into_wire())
    }

    pub(crate) fn method_not_allowed(method: &http::Method, path: &str, allow: String) -> Self {
        let message = format!("{method} is not allowed at {path}; allowed: {allow}");
        let mut refusal = Self::new(StatusCode::METHOD_NOT_ALLOWED, ErrorKind::Refused, message);
        refusal.allow = Some(allow);
        refusal
    }

    pub(crate) fn too_many(message: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, ErrorKind::Refused, message);
        refusal.retry_after = Some(1);
        refusal
    }

    /// Says when to come again.
    pub(crate) fn after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// For what is not the client's fault and passes.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::Refused, message);
        refusal.retry_after = Some(1);
        refusal
    }

    /// Its cause, as its client reads it.
    pub(super) fn message(&self) -> &str {
        &self.error.message
    }

    /// The status that it will have.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// A job that did not complete, for callers who asked for the function's result.
    pub(crate) fn of_job(job: JobObject) -> Self {
        let mut error = match job.status {
            JobStatus::Cancelled => WireError::new(ErrorKind::Cancelled, "the job was cancelled"),
            _ => ErrorText::parse(job.error.as_deref().unwrap_or_default()),
        };
        error.worker_id = error.worker_id.or(job.worker_id).filter(|worker| !worker.is_empty());
        let status = match (error.kind, &error.stage) {
            (ErrorKind::InvalidInput, None) => StatusCode::UNPROCESSABLE_ENTITY,
            (ErrorKind::Timeout, _) => StatusCode::GATEWAY_TIMEOUT,
            (ErrorKind::NoWorker, _) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut refusal = Self::of(status, error);
        refusal.job = Some((job.id, job.status));
        refusal
    }

    /// Names the stage, where nothing nearer did.
    pub(crate) fn at_stage(mut self, stage: String) -> Self {
        self.error.stage.get_or_insert(stage);
        self
    }

    /// As the provider names it.
    pub(crate) fn coded(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// Names the worker that the request was given to, in the body and as every answer of a worker does.
    pub(crate) fn served_by(mut self, worker: &str) -> Self {
        self.error.worker_id.get_or_insert_with(|| worker.to_owned());
        self.served_by = Some(worker.to_owned());
        self
    }

    /// The answer, naming the request where nothing nearer did.
    fn render(mut self, request_id: &str) -> Response {
        self.error.request_id.get_or_insert_with(|| request_id.to_owned());
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
        let mut response = (status, axum::Json(body)).into_response();
        let headers = response.headers_mut();
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

/// A refusal on its way out: handlers do not know the request's id, the layer around them does.
#[derive(Clone)]
struct Unrendered(Arc<Mutex<Option<Refusal>>>);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(Unrendered(Arc::new(Mutex::new(Some(self)))));
        response
    }
}

/// Writes the body of a refusal, which keeps the headers that it got on its way; any other answer stays as
/// it is.
pub(super) fn rendered(mut response: Response, request_id: &str) -> Response {
    let Some(Unrendered(refusal)) = response.extensions_mut().remove::<Unrendered>() else { return response };
    let refusal = refusal.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(refusal) = refusal else { return response };
    let mut whole = refusal.render(request_id);
    whole.headers_mut().extend(response.into_parts().0.headers);
    whole
}

/// `known` names near to a mistyped one, for a message: `; did you mean …?`
pub(crate) fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let mut near: Vec<(usize, &str)> = known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(wrong.len()) / 2)
        .collect();
    near.sort_unstable();
    near.dedup();
    match near.iter().take(3).map(|(_, name)| *name).collect::<Vec<_>>().as_slice() {
        [] => String::new(),
        names => format!("; did you mean `{}`?", names.join("`, `")),
    }
}
