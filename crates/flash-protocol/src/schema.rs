//! Checks a value against a JSON schema and reports what is wrong, field by field.
//!
//! Workers use it after an error, and the gateway for each request. The validator is the `jsonschema` crate; this
//! module turns its results into [`FieldError`]s that name the field and what was expected. They never contain the
//! value, which may be secret or long.
mod choice;
mod content;
mod explain;
mod format;
mod recursion;

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use crate::FieldError;
use content::ContentEncoding;
use format::Format;
pub use format::{TextFormats, integer_range};

/// Maximum number of reported errors.
const MAX_FINDINGS: usize = 32;

/// A compiled schema.
pub struct Checker {
    /// Boxed, so that no part of it moves.
    schema: Box<Value>,
    nodes: explain::Nodes,
    /// Decides whether a value is valid. `None` for a schema that contains itself: with choices in it, the
    /// validator's time can be exponential in the depth of the value, so the walk decides instead.
    validator: Option<jsonschema::Validator>,
}

impl Checker {
    /// `None` for a schema that cannot be compiled.
    pub fn new(schema: Value, texts: TextFormats) -> Option<Self> {
        let validator = compile(&schema, texts)?;
        let validator = (!recursion::contains_itself(&schema)).then_some(validator);
        Some(Self { schema: Box::new(schema), nodes: explain::Nodes::new(texts), validator })
    }

    /// Everything in `value` that does not match.
    pub fn violations(&self, value: &Value) -> Vec<FieldError> {
        if self.validator.as_ref().is_some_and(|validator| validator.is_valid(value)) {
            return Vec::new();
        }
        let found = explain::Walk::new(&self.schema, &self.nodes).findings(value);
        match &self.validator {
            // A rule that the walk does not know, such as `unevaluatedProperties`.
            Some(validator) if found.is_empty() => {
                let mut found = Findings::default();
                validator.iter_errors(value).take(MAX_FINDINGS).for_each(|error| found.add("", &error));
                found.fields
            }
            _ => found,
        }
    }
}

fn compile(schema: &Value, texts: TextFormats) -> Option<jsonschema::Validator> {
    let options = jsonschema::options().with_keyword("format", move |_, format, _| {
        Ok(Box::new(Format::new(format.as_str().unwrap_or_default(), texts)))
    });
    let options = options
        .with_keyword("contentEncoding", |_, encoding, _| Ok(Box::new(ContentEncoding::new(encoding))));
    options.build(schema).ok()
}

/// Everything in `value` that does not match `schema`; empty if it matches or the schema cannot be used.
pub fn violations(schema: &Value, value: &Value, texts: TextFormats) -> Vec<FieldError> {
    Checker::new(schema.clone(), texts).map_or_else(Vec::new, |checker| checker.violations(value))
}

/// The errors found so far, one for each place.
#[derive(Default)]
struct Findings {
    fields: Vec<FieldError>,
}

impl Findings {
    fn is_full(&self) -> bool {
        self.fields.len() >= MAX_FINDINGS
    }

    fn push(&mut self, field: FieldError) {
        if !self.is_full() && !self.fields.iter().any(|known| known.path == field.path) {
            self.fields.push(field);
        }
    }

    /// Adds an error that the validator found in the value at `place`.
    fn add(&mut self, place: &str, error: &ValidationError<'_>) {
        let path = format!("{place}{}", error.instance_path());
        let message = match error.kind() {
            // The validator reports the object; the missing field is more useful.
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                return self.push(FieldError::new(explain::below(&path, name), "missing"));
            }
            Kind::Type { kind } => of_other_type(error.instance(), &kinds(kind)),
            Kind::Enum { options } => match options.as_array() {
                Some(options) => format!("expected one of {}", listed(options.iter().map(as_text))),
                None => "not one of the allowed values".to_owned(),
            },
            Kind::Constant { expected_value } => format!("expected `{}`", as_text(expected_value)),
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                format!("unknown: {}", listed(unexpected.iter().cloned()))
            }
            Kind::OneOfNotValid { .. } | Kind::AnyOf { .. } => "matches none of the allowed forms".to_owned(),
            Kind::OneOfMultipleValid { .. } => {
                "matches several of the allowed forms, expected exactly one".to_owned()
            }
            _ => error.masked_with("the value").to_string(),
        };
        self.push(FieldError::new(path, message));
    }
}

fn of_other_type(given: &Value, expected: &str) -> String {
    format!("expected {expected}, got {}", kind_of(given))
}

fn kinds(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(kind) => kind.to_string(),
        TypeKind::Multiple(kinds) => {
            kinds.iter().map(|kind| kind.to_string()).collect::<Vec<_>>().join(" or ")
        }
    }
}

/// The JSON type of a value, as schemas name it; a number written as a float is a `number`.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value from the schema, for a message.
fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
