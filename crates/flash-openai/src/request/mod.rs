//! Requests as clients send them, read and checked. Unknown fields are ignored; known ones that cannot be honoured are
//! refused.
mod chat;
mod completion;
mod embedding;
mod sampling;
mod texts;

pub(crate) use chat::ChatRequest;
pub(crate) use completion::CompletionRequest;
pub(crate) use embedding::{EmbeddingRequest, Encoding};
pub(crate) use sampling::{Controls, UsageInStream};

use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Choices of one request at most: those of `n`, times the prompts.
const MAX_CHOICES: usize = 128;

/// Reads a type from a body. A type may be one part of the body: fields that it does not know are ignored.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let reader = &mut serde_json::Deserializer::from_slice(body);
    let value = serde_path_to_error::deserialize(&mut *reader).map_err(|error| {
        let path = error.path().to_string();
        let cause = error.into_inner();
        match path.as_str() {
            // Not JSON, or no object.
            "." | "?" => ApiError::bad_body(format!("the body is not valid: {cause}")),
            _ => ApiError::invalid(path.clone(), format!("`{path}` is not valid: {cause}")),
        }
    })?;
    reader.end().map_err(|error| ApiError::bad_body(format!("the body is not valid: {error}")))?;
    Ok(value)
}

/// Checks a number against the limits of OpenAI's API.
fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: Option<T>,
    limits: std::ops::RangeInclusive<T>,
) -> Result<Option<T>, ApiError> {
    match value {
        Some(value) if !limits.contains(&value) => Err(ApiError::invalid(
            name,
            format!("`{name}` is {value}, but must be from {} to {}", limits.start(), limits.end()),
        )),
        value => Ok(value),
    }
}
