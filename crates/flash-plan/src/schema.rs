//! The changes between two JSON schemas, and whether they break callers.
//!
//! Follows references and compares the values field by field; titles, descriptions and examples are ignored. If two
//! schemas cannot be compared in parts, any difference counts as breaking: it is safer to ask once too often.
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::field_change::FieldChange;

/// Who writes the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Callers: what they send today must still be accepted.
    Input,
    /// The function: what callers read today must still be there.
    Output,
}

/// A schema and the definitions it refers to.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    pub schema: &'a Value,
    pub definitions: &'a Map<String, Value>,
}

/// The largest depth of nested references and schemas to follow.
const MAX_DEPTH: usize = 64;
/// From this many differences on, each type is compared only once.
const MANY: usize = 100;
const CHOICES: [&str; 3] = ["anyOf", "oneOf", "allOf"];
/// Keywords that say nothing about values.
const FOR_PEOPLE: [&str; 11] = [
    "title",
    "description",
    "examples",
    "example",
    "$comment",
    "default",
    "deprecated",
    "$schema",
    "$id",
    "$defs",
    "definitions",
];
const LEAST: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
const MOST: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];
/// Keywords with a comparison of their own; any other keyword is compared verbatim.
const COMPARED: [&str; 10] = [
    "type",
    "enum",
    "const",
    "properties",
    "required",
    "items",
    "prefixItems",
    "additionalProperties",
    "pattern",
    "format",
];
const ALL_TYPES: [&str; 7] = ["array", "boolean", "integer", "null", "number", "object", "string"];

/// The differences, named below `name`.
pub(super) fn differences(
    name: &str,
    before: Schema<'_>,
    after: Schema<'_>,
    direction: Direction,
) -> Vec<FieldChange> {
    let mut comparison = Comparison { direction, changes: Vec::new(), under_way: BTreeSet::new() };
    comparison.compare(name, before, after, 0);
    comparison.changes
}

struct Comparison<'a> {
    direction: Direction,
    changes: Vec<FieldChange>,
    /// Types being compared, by reference, and those found equal: a recursive type is compared once.
    under_way: BTreeSet<(&'a str, &'a str)>,
}

/// A schema with its references resolved.
struct Resolved<'a> {
    own: Schema<'a>,
    /// Null is also allowed.
    nullable: bool,
    /// The last reference that was resolved.
    reference: Option<&'a str>,
}

impl<'a> Schema<'a> {
    fn of(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    /// Without references and single-choice alternatives: `anyOf: [X, null]` is X, also nullable. A schema with
    /// more keywords beside a reference or choice is kept as it is, so that nothing is lost.
    fn resolved(self) -> Resolved<'a> {
        let (mut own, mut nullable, mut reference) = (self, false, None);
        for _ in 0..MAX_DEPTH {
            if let Some((name, target)) = own.target()
                && own.is_alone("$ref")
            {
                reference = Some(name);
                own = own.of(target);
                continue;
            }
            let Some(key) = CHOICES.into_iter().find(|key| own.is_alone(key)) else { break };
            let choices = own.choices_of(key);
            let others: Vec<&Value> = choices.clone().filter(|choice| !is_null(choice)).collect();
            match others.as_slice() {
                [only] => {
                    nullable |= others.len() < choices.count();
                    own = own.of(only);
                }
                _ => break,
            }
        }
        Resolved { own, nullable, reference }
    }

    /// The definition it refers to, and its name.
    fn target(self) -> Option<(&'a str, &'a Value)> {
        let name = self.schema.get("$ref")?.as_str()?;
        Some((name, self.definitions.get(name.strip_prefix("#/$defs/")?)?))
    }

    /// Whether this is the only keyword that constrains values.
    fn is_alone(self, keyword: &str) -> bool {
        self.schema.get(keyword).is_some() && self.keywords().all(|own| own == keyword)
    }

    /// All keywords except those for people.
    fn keywords(self) -> impl Iterator<Item = &'a str> {
        let keywords = self.schema.as_object().into_iter().flat_map(Map::keys).map(String::as_str);
        keywords.filter(|own| !FOR_PEOPLE.contains(own))
    }

    fn choices_of(self, keyword: &str) -> impl Iterator<Item = &'a Value> + Clone {
        self.schema.get(keyword).and_then(Value::as_array).into_iter().flatten()
    }

    fn has_choices(self) -> bool {
        CHOICES.into_iter().any(|key| self.choices_of(key).next().is_some())
    }

    fn types(self, nullable: bool) -> BTreeSet<&'a str> {
        let mut types: BTreeSet<&str> = match self.schema.get("type") {
            Some(Value::String(one)) => BTreeSet::from([one.as_str()]),
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => match self.values() {
                Some(values) => values.iter().map(|value| flash_protocol::schema::kind_of(value)).collect(),
                None => ALL_TYPES.into(),
            },
        };
        if types.contains("number") {
            types.insert("integer");
        }
        if nullable {
            types.insert("null");
        }
        types
    }

    /// The only allowed values.
    fn values(self) -> Option<Vec<&'a Value>> {
        let one = self.schema.get("const").map(|value| vec![value]);
        one.or_else(|| Some(self.schema.get("enum")?.as_array()?.iter().collect()))
    }

    fn properties(self) -> impl Iterator<Item = (&'a String, Schema<'a>)> {
        let properties = self.schema.get("properties").and_then(Value::as_object);
        properties.into_iter().flatten().map(move |(name, schema)| (name, self.of(schema)))
    }

    fn property(self, name: &str) -> Option<Schema<'a>> {
        Some(self.of(self.schema.get("properties")?.get(name)?))
    }

    fn requires(self, name: &str) -> bool {
        let required = self.schema.get("required").and_then(Value::as_array);
        required.is_some_and(|names| names.iter().any(|known| known == name))
    }

    /// As shown to users: `string`, `integer or null`.
    fn label(self) -> String {
        let Resolved { own, nullable, .. } = self.resolved();
        let mut types = own.types(nullable);
        if types.len() >= ALL_TYPES.len() {
            return if own.has_choices() { "one of several".to_owned() } else { "anything".to_owned() };
        }
        if types.contains("number") {
            types.remove("integer");
        }
        types.into_iter().collect::<Vec<_>>().join(" or ")
    }

    fn field_label(self, required: bool) -> String {
        format!("{}{}", self.label(), if required { ", required" } else { "" })
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|kind| kind == "null")
}

impl<'a> Comparison<'a> {
    fn say(&mut self, field: &str, before: Option<String>, after: Option<String>, breaking: Option<&str>) {
        let breaking = breaking.map(str::to_owned);
        self.changes.push(FieldChange { field: field.to_owned(), before, after, breaking });
    }

    fn compare(&mut self, field: &str, before: Schema<'a>, after: Schema<'a>, depth: usize) {
        if before.schema == after.schema && before.definitions == after.definitions {
            return;
        }
        let (old, new) = (before.resolved(), after.resolved());
        let (was, is) = (old.own.types(old.nullable), new.own.types(new.nullable));
        // Input may become wider, output narrower.
        let (fits, same) = match self.direction {
            Direction::Input => (was.is_subset(&is), was == is),
            Direction::Output => (is.is_subset(&was), was == is),
        };
        if !fits {
            return self.say(field, Some(before.label()), Some(after.label()), Some("its type changes"));
        }
        if !same {
            self.say(field, Some(before.label()), Some(after.label()), None);
        }
        let pair = old.reference.zip(new.reference);
        if pair.is_some_and(|pair| !self.under_way.insert(pair)) {
            return;
        }
        let told = self.changes.len();
        if depth < MAX_DEPTH {
            self.parts(field, old.own, new.own, depth);
        } else if plain(old.own.schema) != plain(new.own.schema) {
            self.say(field, None, None, Some("it changes"));
        }
        // Shown again at its next use. If there is no difference, there is nothing to show.
        if let Some(pair) = pair
            && self.changes.len() > told
            && self.changes.len() < MANY
        {
            self.under_way.remove(&pair);
        }
    }

    fn parts(&mut self, field: &str, old: Schema<'a>, new: Schema<'a>, depth: usize) {
        if old.has_choices() != new.has_choices() {
            return self.one_or_several(field, old, new);
        }
        for key in CHOICES {
            self.choices(field, key, (old, new), depth);
        }
        match (old.target(), new.target()) {
            (Some((_, before)), Some((_, after))) => {
                self.compare(field, old.of(before), new.of(after), depth + 1);
            }
            _ => self.as_it_stands(field, "$ref", old, new),
        }
        self.values(field, old, new);
        self.limits(field, old, new);
        self.formats(field, old, new);
        self.properties(field, old, new, depth);
        self.first_items(field, old, new, depth);
        self.inner(field, ("items", "[]", "array"), (old, new), depth);
        self.inner(field, ("additionalProperties", "{}", "object"), (old, new), depth);
        let others: BTreeSet<&str> = old.keywords().chain(new.keywords()).collect();
        let known = [&COMPARED[..], &CHOICES[..], &LEAST[..], &MOST[..], &["$ref"]].concat();
        for key in others.into_iter().filter(|key| !known.contains(key)) {
            self.as_it_stands(field, key, old, new);
        }
    }

    /// A keyword that is not compared in parts.
    fn as_it_stands(&mut self, field: &str, key: &str, old: Schema<'_>, new: Schema<'_>) {
        let (was, is) = (old.schema.get(key), new.schema.get(key));
        if was.map(plain) != is.map(plain) {
            let text = |value: Option<&Value>| value.map(|value| format!("{key} {value}"));
            self.say(field, text(was), text(is), Some("it changes"));
        }
    }

    /// The schema of all list items, or of all fields without an entry of their own: a schema, or none (`false`),
    /// or anything (`true`, or absent).
    fn inner(
        &mut self,
        field: &str,
        (key, mark, kind): (&str, &str, &str),
        (old, new): (Schema<'a>, Schema<'a>),
        depth: usize,
    ) {
        let (was, is) = (old.schema.get(key), new.schema.get(key));
        let field = format!("{field}{mark}");
        if let (Some(before), Some(after)) = (was, is)
            && before.is_object()
            && after.is_object()
        {
            return self.compare(&field, old.of(before), new.of(after), depth + 1);
        }
        let width = |inner: Option<&Value>| match inner {
            Some(Value::Bool(false)) => 0,
            Some(Value::Object(_)) => 1,
            _ => 2,
        };
        let (before, after) = (width(was), width(is));
        if before == after {
            return;
        }
        let breaks = match self.direction {
            Direction::Input => after < before && old.types(false).contains(kind),
            // Additional fields do not harm readers of the existing ones; another kind of item does.
            Direction::Output => after > before && before > 0 && new.types(false).contains(kind),
        };
        let label = |schema: Schema<'a>, inner: Option<&'a Value>| match inner {
            Some(Value::Bool(false)) => "nothing".to_owned(),
            Some(inner @ Value::Object(_)) => schema.of(inner).label(),
            _ => "anything".to_owned(),
        };
        let (before, after) = (label(old, was), label(new, is));
        self.say(&field, Some(before), Some(after), breaks.then_some("its allowed content changes"));
    }

    /// List items with a position of their own.
    fn first_items(&mut self, field: &str, old: Schema<'a>, new: Schema<'a>, depth: usize) {
        let items = |schema: Schema<'a>| -> Vec<Schema<'a>> {
            schema.choices_of("prefixItems").map(|item| schema.of(item)).collect()
        };
        let (was, is) = (items(old), items(new));
        for (place, (before, after)) in was.iter().zip(&is).enumerate() {
            self.compare(&format!("{field}[{place}]"), *before, *after, depth + 1);
        }
        if was.len() != is.len() {
            let text =
                |items: &[Schema<'_>]| Some(format!("{} items with a position of their own", items.len()));
            self.say(field, text(&was), text(&is), Some("its items change"));
        }
    }

    /// The format of a text or number.
    fn formats(&mut self, field: &str, old: Schema<'_>, new: Schema<'_>) {
        fn format(schema: Schema<'_>) -> Option<&str> {
            schema.schema.get("format").and_then(Value::as_str)
        }
        let (was, is) = (format(old), format(new));
        // Another type of number is already reported.
        let is_told = old.types(false) != new.types(false) && bits(was).is_some() && bits(is).is_some();
        if was == is || is_told {
            return;
        }
        let fits = match self.direction {
            Direction::Input => within(was, is),
            Direction::Output => within(is, was),
        };
        let text = |format: Option<&str>| format.map(|format| format!("format {format}"));
        self.say(field, text(was), text(is), (!fits).then_some("its format changes"));
    }

    fn properties(&mut self, field: &str, old: Schema<'a>, new: Schema<'a>, depth: usize) {
        for (name, before) in old.properties() {
            let field = format!("{field}.{name}");
            let (was, is) = (old.requires(name), new.requires(name));
            match (new.property(name), self.direction) {
                (None, _) => {
                    self.say(&field, Some(before.field_label(was)), None, Some("the field is removed"))
                }
                (Some(after), Direction::Input) if !was && is => {
                    let (old, new) = (before.field_label(was), after.field_label(is));
                    self.say(&field, Some(old), Some(new), Some("the field is now required"));
                }
                (Some(after), Direction::Output) if was && !is => {
                    let (old, new) = (before.field_label(was), after.field_label(is));
                    self.say(&field, Some(old), Some(new), Some("the field may now be missing"));
                }
                (Some(after), _) => self.compare(&field, before, after, depth + 1),
            }
        }
        for (name, after) in new.properties().filter(|(name, _)| old.property(name).is_none()) {
            let required = new.requires(name);
            let breaking =
                (required && self.direction == Direction::Input).then_some("the field is required");
            self.say(&format!("{field}.{name}"), None, Some(after.field_label(required)), breaking);
        }
    }

    fn values(&mut self, field: &str, old: Schema<'_>, new: Schema<'_>) {
        let (was, is) = (old.values(), new.values());
        if was == is {
            return;
        }
        let text = |values: &Option<Vec<&Value>>| {
            values.as_ref().map(|all| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "))
        };
        let contains = |all: &Option<Vec<&Value>>, some: &Option<Vec<&Value>>| match (all, some) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(all), Some(some)) => some.iter().all(|value| all.contains(value)),
        };
        let fits = match self.direction {
            Direction::Input => contains(&is, &was),
            Direction::Output => contains(&was, &is),
        };
        // An additional value in an answer breaks callers that match on all values; a removed field is worse.
        self.say(field, text(&was), text(&is), (!fits).then_some("its values change"));
    }

    /// Minimum and maximum, of numbers, texts and lists.
    fn limits(&mut self, field: &str, old: Schema<'_>, new: Schema<'_>) {
        let text = |value: Option<&Value>, key: &str| value.map(|value| format!("{key} {value}"));
        for key in LEAST.iter().chain(&MOST).chain(&["pattern"]) {
            let (was, is) = (old.schema.get(*key), new.schema.get(*key));
            if was == is {
                continue;
            }
            let number = |value: Option<&Value>| value.and_then(Value::as_f64);
            let is_narrower = match (number(was), number(is)) {
                _ if *key == "pattern" => is.is_some(),
                (_, None) => false,
                (None, Some(_)) => true,
                (Some(was), Some(is)) => {
                    if LEAST.contains(key) {
                        is > was
                    } else {
                        is < was
                    }
                }
            };
            let breaking =
                (is_narrower && self.direction == Direction::Input).then_some("it accepts less than before");
            self.say(field, text(was, key), text(is, key), breaking);
        }
    }

    /// Alternatives between several schemas. Identical ones are compared by what they refer to; any other counts as
    /// different.
    fn choices(&mut self, field: &str, key: &str, (old, new): (Schema<'a>, Schema<'a>), depth: usize) {
        let all = |schema: Schema<'a>| -> Vec<(Value, Schema<'a>)> {
            schema.choices_of(key).map(|choice| (plain(choice), schema.of(choice))).collect()
        };
        let (was, is) = (all(old), all(new));
        for (text, before) in &was {
            if let Some((_, after)) = is.iter().find(|(other, _)| other == text) {
                self.compare(field, *before, *after, depth + 1);
            }
        }
        let missing = |all: &[(Value, Schema<'_>)], some: &[(Value, Schema<'_>)]| {
            some.iter().filter(|(text, _)| all.iter().all(|(other, _)| other != text)).count()
        };
        let (gone, more) = (missing(&is, &was), missing(&was, &is));
        let breaks = match self.direction {
            // All of them apply at once: one more accepts less.
            Direction::Input if key == "allOf" => gone + more > 0,
            Direction::Input => gone > 0,
            Direction::Output => gone + more > 0,
        };
        if gone + more > 0 {
            let text = |count: usize| Some(format!("{count} variants"));
            self.say(field, text(was.len()), text(is.len()), breaks.then_some("its variants change"));
        }
    }

    /// A single schema became several alternatives, or the other way round.
    fn one_or_several(&mut self, field: &str, old: Schema<'_>, new: Schema<'_>) {
        let is_there = |one: Schema<'_>, several: Schema<'_>| {
            ["anyOf", "oneOf"].into_iter().filter(|key| several.is_alone(key)).any(|key| {
                several
                    .choices_of(key)
                    .any(|choice| plain(several.of(choice).resolved().own.schema) == plain(one.schema))
            })
        };
        let fits = match self.direction {
            Direction::Input => is_there(old, new),
            Direction::Output => is_there(new, old),
        };
        let text = |schema: Schema<'_>| Some(schema.label());
        self.say(field, text(old), text(new), (!fits).then_some("its variants change"));
    }
}

/// The range of a number's format in bits: below and above zero.
fn bits(format: Option<&str>) -> Option<(u32, u32)> {
    match format? {
        "float" | "double" => Some((1024, 1024)),
        "int" => Some((63, 63)),
        "uint" => Some((0, 64)),
        other => {
            let (down, digits) = match other.strip_prefix("uint") {
                Some(digits) => (false, digits),
                None => (true, other.strip_prefix("int")?),
            };
            let all: u32 = digits.parse().ok()?;
            let up = all.checked_sub(u32::from(down))?;
            Some((if down { up } else { 0 }, up))
        }
    }
}

/// Whether every value of the first format is also one of the second; no format means any value.
fn within(some: Option<&str>, all: Option<&str>) -> bool {
    match (bits(some), bits(all)) {
        (Some(some), Some(all)) => some.0 <= all.0 && some.1 <= all.1,
        _ => all.is_none() || some == all,
    }
}

/// A schema without the parts for people. References are kept: their targets are compared on their own.
fn plain(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let kept = members.iter().filter(|(key, _)| !FOR_PEOPLE.contains(&key.as_str()));
            let value = |key: &str, value: &Value| match (key, value) {
                // Field names, not keywords.
                ("properties" | "patternProperties", Value::Object(fields)) => {
                    fields.iter().map(|(name, field)| (name.clone(), plain(field))).collect()
                }
                ("const" | "enum", value) => value.clone(),
                (_, value) => plain(value),
            };
            Value::Object(kept.map(|(key, own)| (key.clone(), value(key, own))).collect())
        }
        Value::Array(items) => items.iter().map(plain).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
