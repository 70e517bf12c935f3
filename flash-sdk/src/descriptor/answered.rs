//! The answer of a function, written.
use http::{HeaderMap, StatusCode};

use super::value::Value;

/// The result of a function.
#[derive(Debug)]
pub struct Answered {
    /// The result.
    pub value: Value,
    /// Status and headers, of a route that sets them.
    pub head: Option<Head>,
}

/// Status and headers of an answer.
#[derive(Debug, Clone)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
}

impl Answered {
    /// Without status and headers of its own.
    pub(crate) fn of(value: Value) -> Self {
        Self { value, head: None }
    }
}
