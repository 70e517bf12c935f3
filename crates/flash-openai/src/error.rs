//! Errors in the shape that clients of OpenAI read.
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use crate::model::{ModelError, ModelErrorKind};

/// Tells OpenAI's clients not to send a request again, which they do twice after a 5xx.
const SHOULD_RETRY: &str = "x-should-retry";

/// Seconds after which a request that found no room may find some: an answer or two have ended by then.
const RETRY_AFTER: &str = "1";

/// An error as a client gets it.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: Option<&'static str>,
    param: Option<String>,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: None, param: None, message: message.into() }
    }

    /// 400 about a field.
    pub(crate) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..Self::new(StatusCode::BAD_REQUEST, message) }
    }

    /// 400 about the body as a whole.
    pub(crate) fn bad_body(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// The body could not be read: too large, or cut off.
    pub(crate) fn unread(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, message)
    }

    /// 404 for a model, with those that are there.
    pub(crate) fn unknown_model<'a>(name: &str, there: impl Iterator<Item = &'a str>) -> Self {
        let there: Vec<&str> = there.collect();
        let message =
            format!("the model `{}` does not exist; there are: {}", shortened(name), there.join(", "));
        Self {
            code: Some("model_not_found"),
            param: Some("model".to_owned()),
            ..Self::new(StatusCode::NOT_FOUND, message)
        }
    }

    /// 404 for a path.
    pub(crate) fn unknown_path(path: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!(
                "no route at {}; there are /v1/models, /v1/chat/completions, /v1/completions, /v1/embeddings and \
                 /health",
                shortened(path)
            ),
        )
    }

    /// 405.
    pub(crate) fn wrong_method(method: &str, path: &str) -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            format!("{} does not take {}", shortened(path), shortened(method)),
        )
    }

    /// What goes into an answer, or into a stream that has begun.
    pub(crate) fn body(&self) -> Value {
        let kind = if self.status.is_server_error() { "server_error" } else { "invalid_request_error" };
        json!({
            "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code }
        })
    }

    /// Whether the same request may succeed later.
    fn is_passing(&self) -> bool {
        self.status == StatusCode::SERVICE_UNAVAILABLE
    }
}

/// Texts of clients in messages have a bound.
fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 120;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

impl From<ModelError> for ApiError {
    fn from(error: ModelError) -> Self {
        let (status, code) = match error.kind() {
            ModelErrorKind::InvalidRequest => (StatusCode::BAD_REQUEST, None),
            ModelErrorKind::ContextLength => (StatusCode::BAD_REQUEST, Some("context_length_exceeded")),
            ModelErrorKind::Overloaded => (StatusCode::SERVICE_UNAVAILABLE, Some("overloaded")),
            ModelErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, None),
        };
        // That there is no room is no defect: the request's own line has the 503.
        if error.kind() == ModelErrorKind::Internal {
            log(&error);
        }
        Self { status, code, param: error.param().map(str::to_owned), message: error.message().to_owned() }
    }
}

/// The client gets the message; the causes are for whoever runs the model.
fn log(error: &ModelError) {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    tracing::error!("{text}");
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.is_passing() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        } else if self.status.is_server_error() {
            response.headers_mut().insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}
