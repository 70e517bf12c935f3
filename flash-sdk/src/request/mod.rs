//! What a route takes of the HTTP request itself, beside data: all headers, one typed header, a form, or the request as
//! a whole.
//!
//! Such an argument never travels as JSON. It has the traits of data only because every argument has them.
#[cfg(feature = "axum")]
mod form;
mod headers;
mod part;
#[cfg(feature = "axum")]
mod typed_header;
mod whole;

pub use headers::Headers;
pub(crate) use headers::sendable;
pub use part::RequestPart;
#[cfg(feature = "axum")]
pub use typed_header::TypedHeader;
pub use whole::WholeRequest;
