//! The input of a function, not decoded yet.
use flash_protocol::wire::Payload;
use http::{HeaderMap, Method, Uri};

use crate::bytes::Bytes;
#[cfg(feature = "axum")]
use crate::multipart::Multipart;

/// The input of a request for a function.
#[derive(Debug, Default)]
pub struct Input {
    /// The JSON body, or a job's input.
    pub body: Option<Payload>,
    /// The body of a route that takes it as it is.
    pub raw: Option<Bytes>,
    /// Path and query parameters, decoded.
    pub text: Vec<(String, String)>,
    /// The headers of a request; none for a job.
    pub headers: HeaderMap,
    /// The method of a request.
    pub method: Method,
    /// Path and query of a request.
    pub uri: Uri,
    /// The body of a route that takes a form.
    #[cfg(feature = "axum")]
    pub form: Option<Multipart>,
}

impl Input {
    /// A job's input.
    pub fn job(input: Option<Payload>) -> Self {
        Self { body: input, ..Self::default() }
    }
}
