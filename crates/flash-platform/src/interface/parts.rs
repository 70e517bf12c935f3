//! Parts that several operations of the API description have.
use serde_json::{Map, Value, json};

/// A body of JSON with this schema.
pub(super) fn json_content(schema: &Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// An answer with an error.
fn failure(description: &str) -> Value {
    let schema = json!({ "$ref": "#/components/schemas/FlashError" });
    json!({ "description": description, "content": json_content(&schema) })
}

/// Answers with errors, by status.
pub(super) fn failures(described: &[(&str, &str)]) -> Map<String, Value> {
    described.iter().map(|(status, description)| ((*status).to_owned(), failure(description))).collect()
}
