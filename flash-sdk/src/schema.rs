//! What is wrong with a value, field by field, by its JSON schema.
//!
//! Used on the error path of a worker and at the gateway's door. The validator is the `jsonschema` crate;
//! this module turns its findings into [`FieldError`]s that name the field and what was expected.
use serde_json::Value;

use crate::FieldError;

/// More findings than this help nobody.
const MAX_FINDINGS: usize = 32;

/// Everything in `value` that does not fit `schema`; empty when it fits or the schema is unusable.
pub fn violations(schema: &Value, value: &Value) -> Vec<FieldError> {
    match jsonschema::validator_for(schema) {
        Ok(validator) => findings(&validator, value),
        Err(_) => Vec::new(),
    }
}

/// Everything in `value` that does not fit, by a compiled schema.
pub fn findings(validator: &jsonschema::Validator, value: &Value) -> Vec<FieldError> {
    let mut fields: Vec<FieldError> = Vec::new();
    for error in validator.iter_errors(value).take(MAX_FINDINGS) {
        let (path, message) = finding(&error);
        if !fields.iter().any(|known| known.path == path) {
            fields.push(FieldError { path, message });
        }
    }
    fields
}

fn finding(error: &jsonschema::ValidationError<'_>) -> (String, String) {
    use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
    let path = error.instance_path().to_string();
    match error.kind() {
        // The finding sits at the object; the field that is missing is the useful place.
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            (format!("{path}/{name}"), "missing".to_owned())
        }
        Kind::Type { kind } => {
            let expected = match kind {
                TypeKind::Single(kind) => kind.to_string(),
                TypeKind::Multiple(kinds) => {
                    kinds.iter().map(|kind| kind.to_string()).collect::<Vec<_>>().join(" or ")
                }
            };
            (path, format!("{} was given, {expected} was expected", short(error.instance())))
        }
        _ => (path, error.to_string()),
    }
}

/// A value cut to a length that fits a message.
fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
