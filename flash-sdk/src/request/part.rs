//! The trait of arguments that are a part of the request.
use std::any::Any;

use flash_protocol::Result;
use http::HeaderName;

use crate::{
    arguments::Wire,
    descriptor::{Argument, Input, Outgoing, Part, RequestArgument},
};

/// An argument that is a part of the HTTP request.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from an HTTP request",
    label = "not a part of a request",
    note = "a route takes `HeaderMap`, `TypedHeader<H>`, `Multipart`, and `http::Request<Bytes>`"
)]
pub trait RequestPart: Wire {
    /// Which part.
    const PART: Part;

    /// The name of the one header.
    fn header() -> Option<&'static HeaderName> {
        None
    }

    /// Whether the request may be without it.
    fn is_optional() -> bool {
        false
    }

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the request; it gets status 400.
    fn read(input: &Input) -> Result<Self, String>;

    /// Writes it, for a call.
    fn write(&self, outgoing: &mut Outgoing);
}

impl Argument {
    /// An argument of this name that is a part of the request.
    pub const fn of_request<T: RequestPart>(name: &'static str) -> Self {
        let request = RequestArgument {
            part: T::PART,
            header: T::header,
            read: |input| T::read(input).map(|part| Box::new(part) as Box<dyn Any>),
            write: |argument, outgoing| {
                if let Some(part) = argument.downcast_ref::<T>() {
                    part.write(outgoing);
                }
            },
        };
        Self { optional: T::is_optional, request: Some(request), ..Self::of::<T>(name) }
    }
}
