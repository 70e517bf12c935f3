//! One argument of a function.
use schemars::{Schema, SchemaGenerator};

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
}
