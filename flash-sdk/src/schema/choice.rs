//! Which of several forms a value was meant to have, when it has none of them.
//!
//! The forms are those that `schemars` writes for an enum: tagged inside or beside its content, tagged
//! outside, plain names, or untagged. An `Option` is an untagged choice between its type and null.
use jsonschema::{ValidationError, error::ValidationErrorKind as Kind};
use serde_json::Value;

use super::{kinds, listed, of_other_type};

/// How deep references are followed: a schema that refers to itself says nothing about its form.
const MAX_REFERENCES: usize = 16;

/// What the value was meant to be.
#[derive(Debug, PartialEq)]
pub(super) enum Meant {
    /// The form of this index: what is wrong with it is what matters.
    Form(usize),
    /// No form that there is: what was expected, of the value or of its member.
    None { member: Option<String>, message: String },
}

/// How a value says that it has a form.
enum Mark<'a> {
    /// A member with a fixed text: an enum that is tagged inside or beside its content.
    Tag { member: &'a str, name: &'a str },
    /// The only member has this name: an enum that is tagged outside.
    Member(&'a str),
    /// It is one of these texts: variants without content.
    Names(Vec<&'a str>),
    /// Nothing but what it consists of.
    Shape,
}

/// Picks the form that the value of `error` was meant to have; `context` holds what each form says against it.
pub(super) fn choose(
    root: &Value,
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
) -> Meant {
    let forms = root.pointer(error.schema_path().as_str()).and_then(Value::as_array);
    let forms = forms.map_or(&[][..], Vec::as_slice);
    let value = error.instance();
    let marks: Vec<Mark<'_>> = forms.iter().map(|form| mark_of(form, root)).collect();
    let tag = marks.iter().find_map(|mark| match mark {
        Mark::Tag { member, .. } => Some(*member),
        _ => None,
    });
    let has_shape = marks.iter().any(|mark| matches!(mark, Mark::Shape));
    match tag {
        _ if marks.is_empty() || has_shape => by_shape(error, context),
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
    let expected = format!("one of {} was expected", listed(names));
    let at_tag = |message: String| Meant::None { member: Some(tag.to_owned()), message };
    let Value::Object(members) = value else {
        return Meant::None { member: None, message: of_other_type(value, "an object") };
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
    Meant::None { member: None, message: format!("one of {} was expected", listed(forms)) }
}

/// The only form whose type the value has at all.
fn by_shape(error: &ValidationError<'_>, context: &[Vec<ValidationError<'static>>]) -> Meant {
    let other_types = |errors: &Vec<ValidationError<'static>>| {
        errors.iter().find_map(|inner| match inner.kind() {
            Kind::Type { kind } if inner.instance_path() == error.instance_path() => Some(kinds(kind)),
            _ => None,
        })
    };
    let mut fitting = (0..context.len()).filter(|index| other_types(&context[*index]).is_none());
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Meant::Form(only),
        (None, _) if !context.is_empty() => {
            let mut expected: Vec<String> = Vec::new();
            for kinds in context.iter().filter_map(other_types) {
                if !expected.contains(&kinds) {
                    expected.push(kinds);
                }
            }
            Meant::None { member: None, message: of_other_type(error.instance(), &expected.join(" or ")) }
        }
        _ => {
            let message = format!("fits none of the {} forms that are allowed", context.len());
            Meant::None { member: None, message }
        }
    }
}
