//! The input of a function, not decoded yet.
use flash_protocol::wire::RawJson;

/// The input of a request for a function.
#[derive(Debug, Default)]
pub struct Input {
    /// The JSON body, or a job's input.
    pub body: Option<RawJson>,
    /// Path and query parameters, decoded.
    pub text: Vec<(String, String)>,
}

impl Input {
    /// A job's input.
    pub fn job(input: Option<RawJson>) -> Self {
        Self { body: input, text: Vec::new() }
    }
}
