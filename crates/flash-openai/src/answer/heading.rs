//! What all parts of one answer have in common.
use serde_json::{Value, json};

/// Who answers, and when.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
}

impl Heading {
    /// An answer, or a chunk of one.
    pub(crate) fn answer(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices
        })
    }
}
