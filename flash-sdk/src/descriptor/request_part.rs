//! Arguments that are a part of the HTTP request and no data.
use std::any::Any;

use flash_protocol::{Result, manifest::FORM};
use http::{HeaderMap, HeaderName};

use super::input::Input;
use crate::bytes::Bytes;

/// A part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All headers.
    Headers,
    /// One header.
    Header,
    /// The body, as a form.
    Form,
    /// All of it.
    Whole,
}

impl Part {
    /// The content type of the body, if this part contains it.
    pub(crate) fn body_type(self) -> Option<&'static str> {
        match self {
            Self::Headers | Self::Header => None,
            Self::Form => Some(FORM),
            Self::Whole => Some("*/*"),
        }
    }
}

/// How an argument is read from a request, and written to one.
#[derive(Debug, Clone, Copy)]
pub struct RequestArgument {
    /// Which part it is.
    pub part: Part,
    /// The name of the one header.
    pub header: fn() -> Option<&'static HeaderName>,
    /// Reads it. The error says what is wrong with the request.
    pub read: fn(&Input) -> Result<Box<dyn Any>, String>,
    /// Writes it, if the value is of its type.
    pub write: fn(&dyn Any, &mut Outgoing),
}

/// What such arguments add to the request of a call.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Headers.
    pub headers: HeaderMap,
    /// The query, as it is in a URL.
    pub query: Option<String>,
    /// The body.
    pub body: Option<Bytes>,
}
