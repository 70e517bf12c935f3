//! Input checks: each function's schema, compiled once per release.
use flash_protocol::{FieldError, manifest::Manifest, schema::Checker};
use serde_json::Value;

use crate::formats;

/// By the function's place in the manifest; `None` where nothing is read.
pub(crate) struct InputSchemas {
    checkers: Vec<Option<Checker>>,
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
            Checker::new(Value::Object(root), formats::fits)
        };
        Self { checkers: manifest.functions.iter().map(|function| compile(&function.input)).collect() }
    }

    /// Every field of `input` that is missing or wrong for this function.
    pub(crate) fn violations(&self, function: usize, input: &Value) -> Vec<FieldError> {
        match self.checkers.get(function) {
            Some(Some(checker)) => checker.violations(input),
            _ => Vec::new(),
        }
    }
}
