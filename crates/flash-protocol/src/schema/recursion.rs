//! Whether a schema contains itself, as for types with a box or list of themselves.
use std::collections::HashMap;

use serde_json::Value;

/// The state of a part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    Under,
    Done,
}

/// Whether a reference leads back to a part that contains it.
pub(super) fn contains_itself(root: &Value) -> bool {
    let mut looks = HashMap::from([("", Look::Under)]);
    leads_back(root, root, &mut looks)
}

fn leads_back<'a>(part: &'a Value, root: &'a Value, looks: &mut HashMap<&'a str, Look>) -> bool {
    match part {
        Value::Array(parts) => parts.iter().any(|part| leads_back(part, root, looks)),
        Value::Object(members) => members.iter().any(|(key, part)| match (key.as_str(), part) {
            ("$ref", Value::String(target)) => refers_back(target, root, looks),
            // Only entered through references.
            ("$defs", _) => false,
            _ => leads_back(part, root, looks),
        }),
        _ => false,
    }
}

fn refers_back<'a>(target: &'a str, root: &'a Value, looks: &mut HashMap<&'a str, Look>) -> bool {
    let Some(pointer) = target.strip_prefix('#') else { return false };
    match looks.get(pointer) {
        Some(Look::Under) => return true,
        Some(Look::Done) => return false,
        None => {}
    }
    let Some(part) = root.pointer(pointer) else { return false };
    looks.insert(pointer, Look::Under);
    let back = leads_back(part, root, looks);
    looks.insert(pointer, Look::Done);
    back
}
