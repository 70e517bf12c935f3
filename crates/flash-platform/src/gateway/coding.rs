//! Refuses bodies with an unsupported content coding.
use flash_protocol::{ErrorKind, wire::unsupported_coding};
use http::{HeaderMap, StatusCode, header};

use super::error::Refusal;

/// # Errors
/// 415 for a compressed body.
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let values = headers.get_all(header::CONTENT_ENCODING);
    match unsupported_coding(values.iter().map(http::HeaderValue::as_bytes)) {
        None => Ok(()),
        Some(message) => {
            Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorKind::InvalidInput, message))
        }
    }
}
