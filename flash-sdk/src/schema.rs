//! What is wrong with a value, field by field, by its JSON schema.
//!
//! Used on the error path of a worker and at the gateway's door. The validator is the `jsonschema` crate;
//! this module turns its findings into [`FieldError`]s that name the field and what was expected. A value
//! is never repeated: it may be a secret, and it may be long.
mod choice;

use jsonschema::{
    ValidationError,
    error::{TypeKind, ValidationErrorKind as Kind},
};
use serde_json::Value;

use crate::FieldError;

/// More findings than this help nobody.
const MAX_FINDINGS: usize = 32;

/// A schema that values are checked against, compiled once.
pub struct Checker {
    validator: jsonschema::Validator,
    /// Says what the forms of an enum are called, which the validator does not.
    schema: Value,
}

impl Checker {
    /// `None` for a schema that cannot be compiled.
    pub fn new(schema: Value) -> Option<Self> {
        let validator = jsonschema::validator_for(&schema).ok()?;
        Some(Self { validator, schema })
    }

    /// Everything in `value` that does not fit.
    pub fn violations(&self, value: &Value) -> Vec<FieldError> {
        if self.validator.is_valid(value) {
            return Vec::new();
        }
        let mut findings = Findings { root: &self.schema, fields: Vec::new() };
        for error in self.validator.iter_errors(value).take(MAX_FINDINGS) {
            findings.add(&error);
        }
        findings.fields
    }
}

/// Everything in `value` that does not fit `schema`; empty when it fits or the schema is unusable.
pub fn violations(schema: &Value, value: &Value) -> Vec<FieldError> {
    Checker::new(schema.clone()).map_or_else(Vec::new, |checker| checker.violations(value))
}

/// What was found so far, one finding for each place.
struct Findings<'a> {
    root: &'a Value,
    fields: Vec<FieldError>,
}

impl Findings<'_> {
    fn push(&mut self, field: FieldError) {
        if self.fields.len() < MAX_FINDINGS && !self.fields.iter().any(|known| known.path == field.path) {
            self.fields.push(field);
        }
    }

    fn add(&mut self, error: &ValidationError<'_>) {
        let path = error.instance_path().as_str();
        let message = match error.kind() {
            Kind::OneOfNotValid { context } | Kind::AnyOf { context } => {
                return self.add_choice(error, context);
            }
            // The finding sits at the object; the field that is missing is the useful place.
            Kind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                return self.push(FieldError::new(format!("{path}/{name}"), "missing"));
            }
            Kind::Type { kind } => of_other_type(error.instance(), &kinds(kind)),
            Kind::Enum { options } => match options.as_array() {
                Some(options) => format!("one of {} was expected", listed(options.iter().map(as_text))),
                None => "not one of the values that are allowed".to_owned(),
            },
            Kind::Constant { expected_value } => format!("`{}` was expected", as_text(expected_value)),
            Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
                format!("unknown: {}", listed(unexpected.iter().cloned()))
            }
            Kind::OneOfMultipleValid { .. } => {
                "fits several of the forms that are allowed, and exactly one was expected".to_owned()
            }
            _ => error.masked_with("the value").to_string(),
        };
        self.push(FieldError::new(path, message));
    }

    /// An enum, an `Option` of something, or an untagged choice: what is wrong with the form that was meant.
    fn add_choice(&mut self, error: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>]) {
        let path = error.instance_path().as_str();
        match choice::choose(self.root, error, context) {
            choice::Meant::Form(index) => {
                for error in context.get(index).into_iter().flatten().take(MAX_FINDINGS) {
                    self.add(error);
                }
            }
            choice::Meant::None { member, message } => {
                let path = member.map_or_else(|| path.to_owned(), |member| format!("{path}/{member}"));
                self.push(FieldError::new(path, message));
            }
        }
    }
}

fn of_other_type(given: &Value, expected: &str) -> String {
    format!("{} was given, {expected} was expected", kind_of(given))
}

fn kinds(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(kind) => kind.to_string(),
        TypeKind::Multiple(kinds) => {
            kinds.iter().map(|kind| kind.to_string()).collect::<Vec<_>>().join(" or ")
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a number",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value of the schema's own, as a message has it.
fn as_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn listed(names: impl Iterator<Item = String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
