//! The input of a route: what its function takes of a request, read.
use axum::extract::{FromRequest as _, Request, rejection::BytesRejection};
use flash_protocol::{ErrorKind, WireError, wire::RawJson};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::Refused;
use crate::{
    bytes::Bytes,
    descriptor::{Function, Input, Part},
};

/// Reads the body: as a form or raw for a function that takes it so, otherwise JSON.
///
/// # Errors
/// 413 for a body over the limit, 400 for one that is not JSON, or not a form.
pub(super) async fn input_of(
    function: &Function,
    text: Vec<(String, String)>,
    request: Request,
    limit_mib: u32,
) -> Result<Input, Refused> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    let parts = || function.arguments.iter().filter_map(|argument| Some(argument.request?.part));
    let headers = match parts().any(|part| part != Part::Form) {
        true => request.headers().clone(),
        false => HeaderMap::new(),
    };
    let body = bytes::Bytes::from_request(request, &()).await;
    let body = body.map_err(|rejection| too_large_or_broken(&rejection, limit_mib))?;
    let input = Input { text, headers, method, uri, ..Input::default() };
    let content_type = content_type.as_ref().and_then(|kind| HeaderValue::to_str(kind).ok());
    #[cfg(feature = "axum")]
    if parts().any(|part| part == Part::Form) {
        let form = crate::multipart::Multipart::read(content_type, body).await.map_err(malformed)?;
        return Ok(Input { form: Some(form), ..input });
    }
    if function.binding().raw_body {
        let raw = match content_type {
            Some(kind) => Bytes::with_content_type(kind, body),
            None => body.into(),
        };
        return Ok(Input { raw: Some(raw), ..input });
    }
    if body.is_empty() {
        return Ok(input);
    }
    let body: RawJson = serde_json::from_slice(&body).map_err(|error| {
        malformed(format!("the body is not valid JSON: {}", flash_protocol::wire::fault(&error)))
    })?;
    Ok(Input { body: Some(body.into()), ..input })
}

fn malformed(message: String) -> Refused {
    let error = Box::new(WireError::new(ErrorKind::InvalidInput, message));
    Refused { status: StatusCode::BAD_REQUEST, error }
}

fn too_large_or_broken(rejection: &BytesRejection, limit_mib: u32) -> Refused {
    let status = rejection.status();
    let message = match status {
        StatusCode::PAYLOAD_TOO_LARGE => format!("the body is over {limit_mib} MiB"),
        _ => rejection.body_text(),
    };
    Refused { status, error: Box::new(WireError::new(ErrorKind::InvalidInput, message)) }
}
