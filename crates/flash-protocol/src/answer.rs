//! An error as the answer of an HTTP handler, so that handlers pass on with `?` what a call returned.
use axum_core::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::{Error, wire::error_body};

/// The answer of a route with this error: its status, and a JSON body with `error`, `kind` and what else is known.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let error = self.into_wire();
        let status = StatusCode::from_u16(error.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = error_body(&error, None, error.request_id.as_deref()).into_response();
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}
