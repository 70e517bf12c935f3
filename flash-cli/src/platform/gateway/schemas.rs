//! Input checks at the door: each function's schema, compiled once per release.
use flash_sdk::{FieldError, manifest::Manifest, schema};
use serde_json::Value;

/// By the function's place in the manifest; `None` where nothing is read.
pub(crate) struct InputSchemas {
    validators: Vec<Option<jsonschema::Validator>>,
}

impl InputSchemas {
    pub(crate) fn new(manifest: &Manifest) -> Self {
        let compile = |input: &Option<Value>| {
            let mut root = match input {
                Some(Value::Object(root)) => root.clone(),
                _ => return None,
            };
            root.insert("$defs".to_owned(), Value::Object(manifest.definitions.clone()));
            // A schema that cannot be compiled checks nothing here; the worker's own decoding still does.
            jsonschema::validator_for(&Value::Object(root)).ok()
        };
        Self { validators: manifest.functions.iter().map(|function| compile(&function.input)).collect() }
    }

    /// Every field of `input` that does not fit this function.
    pub(crate) fn violations(&self, function: usize, input: &Value) -> Vec<FieldError> {
        match self.validators.get(function) {
            Some(Some(validator)) if !validator.is_valid(input) => schema::findings(validator, input),
            _ => Vec::new(),
        }
    }
}
