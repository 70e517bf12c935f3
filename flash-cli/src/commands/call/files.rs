//! Files in an input: `@FILE` in place of a byte string.
//!
//! In JSON a byte string is base64, which has no `@`. So text that starts with one, where the schema has a byte string,
//! names a file.
use std::io::Read as _;

use flash_protocol::{
    manifest::{ArgumentEntry, ArgumentSource, FunctionEntry, Manifest},
    wire::base64,
};
use serde_json::{Map, Value};

use crate::exit::{Failure, FailureCode};

/// How deep references of a schema are followed.
const DEEPEST: u32 = 64;

/// The content of a file, or of stdin for `-`.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Failure> {
    if path == "-" {
        let mut content = Vec::new();
        let read = std::io::stdin().read_to_end(&mut content);
        return read.map(|_| content).map_err(|error| Failure::of(FailureCode::Unusable, &error));
    }
    std::fs::read(path).map_err(|error| {
        Failure::unusable(format!("cannot read {path}: {error}"))
            .hint("give the input as JSON, as @FILE, or as - to read stdin")
    })
}

/// Whether a value of this schema is a byte string.
pub(super) fn is_bytes(schema: &Value) -> bool {
    schema.get("contentEncoding").is_some_and(|encoding| encoding == "base64")
}

/// The argument that a file alone stands for: the only byte string, if nothing else is required.
pub(super) fn lone_argument(function: &FunctionEntry) -> Option<&ArgumentEntry> {
    let mut of_bytes = function
        .arguments
        .iter()
        .filter(|argument| argument.source == ArgumentSource::Body && is_bytes(&argument.schema));
    let only = of_bytes.next().filter(|_| of_bytes.next().is_none())?;
    let others = function.arguments.iter().filter(|argument| argument.name != only.name);
    others.into_iter().all(|argument| !argument.required).then_some(only)
}

/// Replaces `@FILE` in an input by the base64 of the file, wherever the function expects bytes. `false` if there was
/// none.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn insert(
    manifest: &Manifest,
    function: &FunctionEntry,
    input: &mut Value,
) -> Result<bool, Failure> {
    let schemas = Schemas { definitions: &manifest.definitions };
    let mut found = false;
    for argument in &function.arguments {
        if let Some(member) = input.get_mut(&argument.name) {
            found |= schemas.insert(&argument.schema, member, DEEPEST)?;
        }
    }
    if let Some(schema) = &function.input {
        found |= schemas.insert(schema, input, DEEPEST)?;
    }
    Ok(found)
}

struct Schemas<'a> {
    definitions: &'a Map<String, Value>,
}

impl Schemas<'_> {
    fn insert(&self, schema: &Value, value: &mut Value, depth: u32) -> Result<bool, Failure> {
        let (Value::Object(members), Some(below)) = (schema, depth.checked_sub(1)) else { return Ok(false) };
        let mut found = false;
        if let Value::String(text) = value
            && let Some(path) = text.strip_prefix('@').filter(|_| is_bytes(schema))
        {
            *text = base64::encode(&read(path)?);
            return Ok(true);
        }
        if let Some(target) = members.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix("#/$defs/").and_then(|name| self.definitions.get(name));
            if let Some(target) = target {
                found |= self.insert(target, value, below)?;
            }
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for form in members.get(key).and_then(Value::as_array).into_iter().flatten() {
                found |= self.insert(form, value, below)?;
            }
        }
        match value {
            Value::Object(object) => {
                let known = members.get("properties").and_then(Value::as_object);
                for (name, member) in object {
                    let schema = known.and_then(|known| known.get(name));
                    if let Some(schema) = schema.or_else(|| members.get("additionalProperties")) {
                        found |= self.insert(schema, member, below)?;
                    }
                }
            }
            Value::Array(items) => {
                if let Some(schema) = members.get("items") {
                    for item in items {
                        found |= self.insert(schema, item, below)?;
                    }
                }
            }
            _ => {}
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::find::tests::{function, manifest},
        *,
    };

    fn argument(name: &str, required: bool, schema: Value) -> ArgumentEntry {
        ArgumentEntry { name: name.to_owned(), source: ArgumentSource::Body, required, schema }
    }

    fn bytes() -> Value {
        json!({ "type": "string", "contentEncoding": "base64" })
    }

    #[test]
    fn a_file_alone_is_the_only_byte_string_if_nothing_else_is_required() {
        let mut resize = function("resize", None, "jobs", None);
        resize.arguments = vec![argument("image", true, bytes()), argument("width", false, json!({}))];
        assert_eq!(lone_argument(&resize).map(|argument| argument.name.as_str()), Some("image"));
        resize.arguments[1].required = true;
        assert!(lone_argument(&resize).is_none());
        resize.arguments = vec![argument("first", true, bytes()), argument("second", false, bytes())];
        assert!(lone_argument(&resize).is_none());
    }

    #[test]
    fn files_are_inserted_where_bytes_are_expected_and_nowhere_else() {
        let mut turn = function("turn", None, "jobs", None);
        turn.arguments = vec![argument("picture", true, json!({ "$ref": "#/$defs/Picture" }))];
        turn.input = Some(json!({ "$ref": "#/$defs/Picture" }));
        let mut app = manifest(vec![turn]);
        let more = json!({ "anyOf": [{ "type": "array", "items": bytes() }, { "type": "null" }] });
        let properties = json!({ "name": { "type": "string" }, "file": bytes(), "more": more });
        app.definitions.insert("Picture".to_owned(), json!({ "type": "object", "properties": properties }));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xffpicture").unwrap();
        let name = format!("@{}", file.path().display());
        let mut input = json!({ "name": name, "file": name, "more": ["YWJj", name] });
        assert!(insert(&app, &app.functions[0], &mut input).unwrap());
        assert_eq!(input, json!({ "name": name, "file": "/3BpY3R1cmU=", "more": ["YWJj", "/3BpY3R1cmU="] }));
        assert!(!insert(&app, &app.functions[0], &mut input).unwrap());
        let missing = insert(&app, &app.functions[0], &mut json!({ "file": "@/no/such/file" })).unwrap_err();
        assert!(missing.to_string().contains("cannot read /no/such/file"), "{missing}");
    }
}
