//! The rule of `contentEncoding`, which by JSON Schema alone is a remark: text that is said to be base64 must be.
use jsonschema::{Keyword, ValidationError};
use serde_json::Value;

use crate::wire::base64;

/// The rule of `contentEncoding`.
pub(super) enum ContentEncoding {
    Base64,
    /// Not checked.
    Other,
}

impl ContentEncoding {
    pub(super) fn new(encoding: &Value) -> Self {
        if encoding == "base64" { Self::Base64 } else { Self::Other }
    }
}

impl<'i> Keyword<'i> for ContentEncoding {
    fn validate(&self, value: &'i Value) -> Result<(), ValidationError<'i>> {
        match self.is_valid(value) {
            true => Ok(()),
            false => Err(ValidationError::custom("expected base64")),
        }
    }

    fn is_valid(&self, value: &'i Value) -> bool {
        match (self, value) {
            (Self::Base64, Value::String(text)) => base64::is_valid(text),
            _ => true,
        }
    }
}
