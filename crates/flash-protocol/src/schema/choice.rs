//! Finds the form that a value was meant to have when it matches none of several.
//!
//! The forms are those that `schemars` writes for an enum: internally, adjacently or externally tagged, plain names,
//! or untagged. An `Option` is an untagged choice between its type and null.
use serde_json::Value;

use super::{listed, of_other_type};

/// How deep references are followed. A schema that only refers to itself has no recognisable form.
const MAX_REFERENCES: usize = 16;

/// What the value was meant to be.
#[derive(Debug, PartialEq)]
pub(super) enum Meant {
    /// The form of this index: what is wrong with it is what matters.
    Form(usize),
    /// Any of these; only a full check can tell them apart.
    OneOf(Vec<usize>),
    /// None of the forms. The message says what was expected of the value or its member.
    None { member: Option<String>, message: String },
}

/// How a value shows which form it has.
enum Mark<'a> {
    /// A member with a fixed text: an internally or adjacently tagged enum.
    Tag { member: &'a str, name: &'a str },
    /// The only member has this name: an externally tagged enum.
    Member(&'a str),
    /// The value is one of these texts: variants without content.
    Names(Vec<&'a str>),
    /// Only its content shows it.
    Shape,
}

/// Picks the form that a value was meant to have.
pub(super) fn choose(root: &Value, forms: &[Value], value: &Value) -> Meant {
    let marks: Vec<Mark<'_>> = forms.iter().map(|form| mark_of(form, root)).collect();
    let tag = marks.iter().find_map(|mark| match mark {
        Mark::Tag { member, .. } => Some(*member),
        _ => None,
    });
    let has_shape = marks.iter().any(|mark| matches!(mark, Mark::Shape));
    match tag {
        _ if has_shape => by_shape(root, forms, value),
        Some(member) => by_tag(&marks, member, value),
        None => by_name(&marks, value),
    }
}

fn mark_of<'a>(form: &'a Value, root: &'a Value) -> Mark<'a> {
    let mut form = form;
    for _ in 0..MAX_REFERENCES {
        let mark = mark_here(form);
        if !matches!(mark, Mark::Shape) {
            return mark;
        }
        let target = form.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
        match target.and_then(|pointer| root.pointer(pointer)) {
            Some(target) => form = target,
            None => break,
        }
    }
    Mark::Shape
}

fn mark_here(form: &Value) -> Mark<'_> {
    if let Some(name) = form.get("const").and_then(Value::as_str) {
        return Mark::Names(vec![name]);
    }
    if let Some(names) = form.get("enum").and_then(Value::as_array) {
        return Mark::Names(names.iter().filter_map(Value::as_str).collect());
    }
    let required = form.get("required").and_then(Value::as_array);
    let Some(required) = required else { return Mark::Shape };
    let Some(properties) = form.get("properties").and_then(Value::as_object) else { return Mark::Shape };
    let tag = properties.iter().find_map(|(member, schema)| {
        let name = schema.get("const")?.as_str()?;
        required.iter().any(|required| required == member).then_some(Mark::Tag { member, name })
    });
    let is_closed = form.get("additionalProperties") == Some(&Value::Bool(false));
    match (tag, properties.keys().next()) {
        (Some(tag), _) => tag,
        (None, Some(only)) if properties.len() == 1 && required.len() == 1 && is_closed => Mark::Member(only),
        _ => Mark::Shape,
    }
}

fn by_tag(marks: &[Mark<'_>], tag: &str, value: &Value) -> Meant {
    let names = marks.iter().filter_map(|mark| match mark {
        Mark::Tag { name, .. } => Some((*name).to_owned()),
        _ => None,
    });
    let expected = format!("expected one of {}", listed(names));
    let at_tag = |message: String| Meant::None { member: Some(tag.to_owned()), message };
    let Value::Object(members) = value else {
        return Meant::None { member: None, message: of_other_type(value, "object") };
    };
    match members.get(tag) {
        None => at_tag(format!("missing: {expected}")),
        Some(Value::String(given)) => {
            let is_given = |mark: &Mark<'_>| matches!(mark, Mark::Tag { name, .. } if name == given);
            marks.iter().position(is_given).map_or_else(|| at_tag(expected), Meant::Form)
        }
        Some(_) => at_tag(expected),
    }
}

fn by_name(marks: &[Mark<'_>], value: &Value) -> Meant {
    let given = match value {
        Value::String(name) => Some(name),
        Value::Object(members) if members.len() == 1 => members.keys().next(),
        _ => None,
    };
    let is_given = |mark: &Mark<'_>| match mark {
        Mark::Member(name) => given.is_some_and(|given| given == name),
        Mark::Names(names) => given.is_some_and(|given| names.contains(&given.as_str())),
        Mark::Tag { .. } | Mark::Shape => false,
    };
    if let Some(index) = marks.iter().position(is_given) {
        return Meant::Form(index);
    }
    let forms = marks.iter().flat_map(|mark| match mark {
        Mark::Names(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        Mark::Member(name) => vec![format!("{{\"{name}\": …}}")],
        Mark::Tag { .. } | Mark::Shape => Vec::new(),
    });
    Meant::None { member: None, message: format!("expected one of {}", listed(forms)) }
}

/// The forms whose type the value has, and all of whose members.
fn by_shape(root: &Value, forms: &[Value], value: &Value) -> Meant {
    let kinds: Vec<Option<Vec<&str>>> = forms.iter().map(|form| kinds_of(form, root, 0)).collect();
    let has_kind = |kinds: &Option<Vec<&str>>| {
        kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|kind| is_of(value, kind)))
    };
    let fitting: Vec<usize> = (0..forms.len()).filter(|index| has_kind(&kinds[*index])).collect();
    match &fitting[..] {
        [only] => Meant::Form(*only),
        [] => {
            let mut expected: Vec<&str> = Vec::new();
            for kind in kinds.iter().flatten().flatten() {
                if !expected.contains(kind) {
                    expected.push(kind);
                }
            }
            Meant::None { member: None, message: of_other_type(value, &expected.join(" or ")) }
        }
        _ => Meant::OneOf(fitting),
    }
}

/// The JSON types that a form allows; `None` for any.
fn kinds_of<'a>(form: &'a Value, root: &'a Value, depth: usize) -> Option<Vec<&'a str>> {
    if depth > MAX_REFERENCES {
        return None;
    }
    match form.get("type") {
        Some(Value::String(kind)) => return Some(vec![kind]),
        Some(Value::Array(kinds)) => return Some(kinds.iter().filter_map(Value::as_str).collect()),
        _ => {}
    }
    if let Some(target) = form.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'))
    {
        return root.pointer(target).and_then(|target| kinds_of(target, root, depth + 1));
    }
    let forms = form.get("oneOf").or_else(|| form.get("anyOf"))?.as_array()?;
    let kinds: Option<Vec<Vec<&str>>> = forms.iter().map(|form| kinds_of(form, root, depth + 1)).collect();
    kinds.map(|kinds| kinds.concat())
}

fn is_of(value: &Value, kind: &str) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        // The form checks whether the number is an integer.
        Value::Number(_) => matches!(kind, "number" | "integer"),
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    }
}
