//! A small value that a JSON schema accepts: what a printed `curl` sends, so that it works as printed.
//!
//! Values are built from the keywords of the schema, the smallest first. Where a schema leaves a choice (`oneOf`,
//! examples) the check of the gateway decides, and it sees the result: a value that does not fit is never given.
mod pattern;
mod scalar;

use std::cell::Cell;

use flash_protocol::schema::Checker;
use serde_json::{Map, Value, json};

use crate::formats;

/// How deep references are followed: a type that holds itself has no end.
const DEEPEST: u32 = 12;
/// Schemas looked at for one sample. Types that hold each other in many ways would take for ever.
const STEPS: u32 = 1_000;
/// Items and entries of one value; a schema that asks for more has no sample.
const MOST_ITEMS: u64 = 64;

/// A value for `schema`, whose `#/$defs/…` are these. `None` where none is found.
pub fn sample(schema: &Value, definitions: &Map<String, Value>) -> Option<Value> {
    let sampler = Sampler { definitions, steps: Cell::new(STEPS) };
    // The smallest: a value that needs no depth is found before one that does.
    (0..=DEEPEST).find_map(|depth| sampler.value(schema, depth).filter(|value| sampler.fits(schema, value)))
}

struct Sampler<'a> {
    definitions: &'a Map<String, Value>,
    steps: Cell<u32>,
}

impl Sampler<'_> {
    fn value(&self, schema: &Value, depth: u32) -> Option<Value> {
        self.steps.set(self.steps.get().checked_sub(1)?);
        let members = match schema {
            Value::Object(members) => members,
            Value::Bool(true) => return Some(json!({})),
            _ => return None,
        };
        if let Some(given) = given(members).find(|given| self.fits(schema, given)) {
            return Some(given.clone());
        }
        if let Some(only) = members.get("const") {
            return Some(only.clone());
        }
        if let Some(Value::Array(choices)) = members.get("enum") {
            return choices.iter().find(|choice| self.fits(schema, choice)).cloned();
        }
        let mut whole = match has_own_keywords(members) {
            true => Some(self.own(members, depth)?),
            false => None,
        };
        if let Some(Value::String(reference)) = members.get("$ref") {
            let target = self.definition(reference)?;
            merge(&mut whole, self.value(target, depth.checked_sub(1)?)?);
        }
        for part in members.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            merge(&mut whole, self.value(part, depth)?);
        }
        self.chosen(schema, members, whole, depth)
    }

    /// Adds a choice of each `oneOf` and `anyOf`, so that the whole fits.
    fn chosen(
        &self,
        schema: &Value,
        members: &Map<String, Value>,
        whole: Option<Value>,
        depth: u32,
    ) -> Option<Value> {
        let choices = |key: &str| members.get(key).and_then(Value::as_array);
        let (one, any) = (choices("oneOf"), choices("anyOf"));
        let Some(choices) = one.or(any) else { return whole.or_else(|| Some(json!({}))) };
        // `null` says least of what is expected.
        let (nulls, rest): (Vec<_>, Vec<_>) = choices.iter().partition(|choice| is_null(choice));
        let second = any.filter(|_| one.is_some());
        rest.into_iter().chain(nulls).find_map(|choice| {
            let mut whole = whole.clone();
            merge(&mut whole, self.value(choice, depth)?);
            if let Some(second) = second {
                return second.iter().find_map(|choice| {
                    let mut whole = whole.clone();
                    merge(&mut whole, self.value(choice, depth)?);
                    whole.filter(|value| self.fits(schema, value))
                });
            }
            whole.filter(|value| self.fits(schema, value))
        })
    }

    /// A value by the keywords of the schema itself.
    fn own(&self, members: &Map<String, Value>, depth: u32) -> Option<Value> {
        let kinds: Vec<&str> = match members.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ if members.contains_key("items") || members.contains_key("prefixItems") => vec!["array"],
            _ => vec!["object"],
        };
        let (nulls, kinds): (Vec<_>, Vec<_>) = kinds.into_iter().partition(|kind| *kind == "null");
        kinds.into_iter().chain(nulls).find_map(|kind| match kind {
            "string" => scalar::string(members),
            "integer" => scalar::integer(members),
            "number" => scalar::number(members),
            "boolean" => Some(json!(true)),
            "null" => Some(Value::Null),
            "array" => self.array(members, depth),
            "object" => self.object(members, depth),
            _ => None,
        })
    }

    fn array(&self, members: &Map<String, Value>, depth: u32) -> Option<Value> {
        let bound = |key: &str| members.get(key).and_then(Value::as_u64);
        let (least, most) = (bound("minItems").unwrap_or(0), bound("maxItems").unwrap_or(MOST_ITEMS));
        let first = members.get("prefixItems").and_then(Value::as_array);
        let mut items = Vec::new();
        for item in first.into_iter().flatten().take(usize::try_from(most).unwrap_or(usize::MAX)) {
            items.push(self.value(item, depth)?);
        }
        let rest = members.get("items").unwrap_or(&Value::Bool(true));
        let count = items.len() as u64;
        // One shows what an item looks like.
        let shown = u64::from(count == 0 && members.contains_key("items") && *rest != Value::Bool(false));
        let wanted = least.max(count + shown).min(most.max(least));
        if wanted > MOST_ITEMS {
            return None;
        }
        let is_set = members.get("uniqueItems") == Some(&Value::Bool(true));
        for number in count..wanted {
            let item = match is_set {
                true => self.another(rest, number, &items, depth),
                false => self.value(rest, depth),
            };
            match item {
                Some(item) => items.push(item),
                // An item of a type that holds itself: none is needed.
                None if number >= least => break,
                None => return None,
            }
        }
        Some(Value::Array(items))
    }

    /// An item that is not among these yet.
    fn another(&self, schema: &Value, number: u64, items: &[Value], depth: u32) -> Option<Value> {
        let usual = self.value(schema, depth)?;
        let other = match &usual {
            Value::String(text) => json!(format!("{text}{number}")),
            Value::Number(from) => json!(from.as_i64().unwrap_or_default() + number as i64),
            Value::Bool(_) => json!(number == 0),
            other => other.clone(),
        };
        let choices = schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
        [usual, other]
            .into_iter()
            .chain(choices)
            .find(|item| !items.contains(item) && self.fits(schema, item))
    }

    fn object(&self, members: &Map<String, Value>, depth: u32) -> Option<Value> {
        let of = |key: &str| members.get(key).and_then(Value::as_object);
        let required = members.get("required").and_then(Value::as_array).into_iter().flatten();
        let properties = of("properties");
        let mut object = Map::new();
        for name in required.filter_map(Value::as_str) {
            let schema = properties.and_then(|properties| properties.get(name)).unwrap_or(&Value::Bool(true));
            object.insert(name.to_owned(), self.value(schema, depth)?);
        }
        let least = members.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
        if least > MOST_ITEMS {
            return None;
        }
        // A map shows what an entry looks like.
        let is_map = properties.is_none_or(Map::is_empty);
        let shown = u64::from(is_map && object.is_empty());
        for number in 0..least.max(shown) {
            if object.len() as u64 >= least.max(shown) {
                break;
            }
            match self.entry(members, number, depth) {
                Some((key, value)) => object.insert(key, value),
                None if object.len() as u64 >= least => break,
                None => return None,
            };
        }
        Some(Value::Object(object))
    }

    /// An entry beside those that the schema names.
    fn entry(&self, members: &Map<String, Value>, number: u64, depth: u32) -> Option<(String, Value)> {
        let by_pattern = members.get("patternProperties").and_then(Value::as_object);
        if let Some((pattern, schema)) = by_pattern.and_then(|patterns| patterns.iter().next()) {
            return Some((pattern::matching(pattern)?, self.value(schema, depth)?));
        }
        let schema = members.get("additionalProperties").filter(|schema| **schema != Value::Bool(false))?;
        let key = match members.get("propertyNames") {
            Some(names) => self.value(names, depth)?.as_str()?.to_owned(),
            None => "key".to_owned(),
        };
        let key = if number == 0 { key } else { format!("{key}{number}") };
        Some((key, self.value(schema, depth)?))
    }

    fn definition(&self, reference: &str) -> Option<&Value> {
        self.definitions.get(reference.strip_prefix("#/$defs/")?)
    }

    /// Whether the check of the gateway accepts it.
    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let Value::Object(members) = schema else { return schema == &Value::Bool(true) };
        let mut root = members.clone();
        root.insert("$defs".to_owned(), Value::Object(self.definitions.clone()));
        // A schema that cannot be compiled is checked nowhere.
        Checker::new(Value::Object(root), formats::fits)
            .is_none_or(|checker| checker.violations(value).is_empty())
    }
}

/// Values that the author gave.
fn given(members: &Map<String, Value>) -> impl Iterator<Item = &Value> {
    let examples = members.get("examples").and_then(Value::as_array).into_iter().flatten();
    examples.chain(members.get("example")).chain(members.get("default"))
}

/// Whether it says something besides references and choices.
fn has_own_keywords(members: &Map<String, Value>) -> bool {
    let own = [
        "type",
        "properties",
        "required",
        "items",
        "prefixItems",
        "additionalProperties",
        "patternProperties",
    ];
    own.iter().any(|key| members.contains_key(*key))
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "null") || schema.get("const").is_some_and(Value::is_null)
}

/// Objects become one; of other values the last counts.
fn merge(whole: &mut Option<Value>, part: Value) {
    match (whole.as_mut(), part) {
        (Some(Value::Object(whole)), Value::Object(part)) => whole.extend(part),
        // A part that asks for nothing.
        (Some(_), Value::Object(part)) if part.is_empty() => {}
        (_, part) => *whole = Some(part),
    }
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("schema_sample", |data| {
    let Ok(schema @ Value::Object(_)) = serde_json::from_slice(data) else { return };
    let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(found) = sample(&schema, &definitions) {
        let checker = Checker::new(schema.clone(), formats::fits);
        let findings = checker.map_or_else(Vec::new, |checker| checker.violations(&found));
        assert!(findings.is_empty(), "{found} for {schema}: {findings:?}");
    }
});

#[cfg(test)]
mod tests;
