//! Arguments or a result, as they leave this process.
use flash_protocol::wire::Payload;

use crate::{bytes::Bytes, json};

/// An encoded value.
#[derive(Debug)]
pub enum Value {
    /// JSON.
    Json(Payload),
    /// The raw body of a route's request or answer.
    Raw(Bytes),
}

impl Value {
    /// The value as a payload; raw bytes become one. `what` names it in errors.
    ///
    /// # Errors
    /// None in practice: bytes can always be written.
    pub(crate) fn into_payload(self, what: &str) -> flash_protocol::Result<Payload> {
        match self {
            Self::Json(payload) => Ok(payload),
            Self::Raw(bytes) => json::encode_payload(&bytes, what, 0),
        }
    }
}
