//! The types of a function: its arguments and its result.
use schemars::{Schema, SchemaGenerator};

use super::request_part::RequestArgument;

/// Writes the schema of a type.
pub(crate) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// An argument's name and schema.
#[derive(Debug)]
pub struct Argument {
    /// Its name in the code.
    pub name: &'static str,
    /// Writes its schema.
    pub schema: SchemaOf,
    /// Whether it may be left out.
    pub optional: fn() -> bool,
    /// Whether its type is [`Bytes`](crate::Bytes).
    pub is_bytes: fn() -> bool,
    /// How it is read, if it is a part of the request and no data.
    pub request: Option<RequestArgument>,
}

/// The type of a function's result.
#[derive(Debug)]
pub struct Output {
    /// Writes its schema.
    pub schema: SchemaOf,
    /// Whether it is [`Bytes`](crate::Bytes).
    pub is_bytes: fn() -> bool,
    /// Whether it is a whole HTTP response.
    pub is_response: bool,
}
