//! What changes between two JSON schemas, and whether callers notice.
//!
//! Follows references and compares what values are, field by field; titles, texts and examples do not count. Where
//! two schemas cannot be compared in parts, a difference counts as breaking: better asked once too often.
use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::plan::FieldChange;

/// Who writes the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// Callers: what they send today must still be taken.
    Input,
    /// The function: what callers read today must still be there.
    Output,
}

/// A schema and the definitions that it refers to.
#[derive(Clone, Copy)]
pub(super) struct Schema<'a> {
    pub schema: &'a Value,
    pub definitions: &'a Map<String, Value>,
}

/// Types that hold themselves end here.
const MAX_DEPTH: usize = 24;
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

struct Comparison {
    direction: Direction,
    changes: Vec<FieldChange>,
    /// References that are being compared: a type that holds itself is compared once.
    under_way: BTreeSet<(String, String)>,
}

impl<'a> Schema<'a> {
    fn of(self, schema: &'a Value) -> Self {
        Self { schema, ..self }
    }

    /// Without references and without choices of one: `anyOf: [X, null]` is X, and null beside it.
    fn resolved(self) -> (Self, bool) {
        let (mut own, mut nullable) = (self, false);
        for _ in 0..MAX_DEPTH {
            if let Some(name) = own.schema.get("$ref").and_then(Value::as_str) {
                let Some(target) = name.strip_prefix("#/$defs/").and_then(|name| own.definitions.get(name))
                else {
                    break;
                };
                own = own.of(target);
                continue;
            }
            let Some(choices) = own.choices() else { break };
            let others: Vec<&Value> = choices.iter().filter(|choice| !is_null(choice)).collect();
            match others.as_slice() {
                [only] => {
                    nullable |= others.len() < choices.len();
                    own = own.of(only);
                }
                _ => break,
            }
        }
        (own, nullable)
    }

    fn choices(self) -> Option<&'a Vec<Value>> {
        ["anyOf", "oneOf", "allOf"].iter().find_map(|key| self.schema.get(*key)?.as_array())
    }

    fn types(self, nullable: bool) -> BTreeSet<&'a str> {
        let mut types: BTreeSet<&str> = match self.schema.get("type") {
            Some(Value::String(one)) => BTreeSet::from([one.as_str()]),
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => match self.values() {
                Some(values) => values.iter().map(|value| type_of(value)).collect(),
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

    /// The only values that there may be.
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

    /// As it is told: `string`, `integer or null`.
    fn label(self) -> String {
        let (own, nullable) = self.resolved();
        let mut types = own.types(nullable);
        if types.len() >= ALL_TYPES.len() {
            return if own.choices().is_some() { "one of several".to_owned() } else { "anything".to_owned() };
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

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

impl Comparison {
    fn say(&mut self, field: &str, before: Option<String>, after: Option<String>, breaking: Option<&str>) {
        let breaking = breaking.map(str::to_owned);
        self.changes.push(FieldChange { field: field.to_owned(), before, after, breaking });
    }

    fn compare(&mut self, field: &str, before: Schema<'_>, after: Schema<'_>, depth: usize) {
        let reference = |schema: Schema<'_>| schema.schema.get("$ref").map(Value::to_string);
        if let (Some(old), Some(new)) = (reference(before), reference(after))
            && !self.under_way.insert((old, new))
        {
            return;
        }
        if depth > MAX_DEPTH || (before.schema == after.schema && before.definitions == after.definitions) {
            return;
        }
        let ((old, was_nullable), (new, is_nullable)) = (before.resolved(), after.resolved());
        let (was, is) = (old.types(was_nullable), new.types(is_nullable));
        // Input may be wider than before, output narrower.
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
        if old.choices().is_some() || new.choices().is_some() {
            return self.choices(field, old, new);
        }
        self.values(field, old, new);
        self.limits(field, old, new);
        self.properties(field, old, new, depth);
        for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
            if let (Some(old_inner), Some(new_inner)) = (old.schema.get(key), new.schema.get(key))
                && old_inner.is_object()
                && new_inner.is_object()
            {
                self.compare(&format!("{field}{mark}"), old.of(old_inner), new.of(new_inner), depth + 1);
            }
        }
    }

    fn properties(&mut self, field: &str, old: Schema<'_>, new: Schema<'_>, depth: usize) {
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
        // A value more that is answered breaks those who match on all of them; the removal of a field is worse.
        self.say(field, text(&was), text(&is), (!fits).then_some("its values change"));
    }

    /// Least and most, of numbers, texts and lists.
    fn limits(&mut self, field: &str, old: Schema<'_>, new: Schema<'_>) {
        const LEAST: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
        const MOST: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];
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
                (is_narrower && self.direction == Direction::Input).then_some("less is taken than before");
            self.say(field, text(was, key), text(is, key), breaking);
        }
    }

    /// Choices between several schemas, each compared as a whole.
    fn choices(&mut self, field: &str, old: Schema<'_>, new: Schema<'_>) {
        let all = |schema: Schema<'_>| -> Vec<Value> {
            match schema.choices() {
                Some(choices) => choices.iter().map(|choice| plain(schema.of(choice), 0)).collect(),
                None => vec![plain(schema, 0)],
            }
        };
        let (was, is) = (all(old), all(new));
        let missing = |all: &[Value], some: &[Value]| some.iter().filter(|one| !all.contains(one)).count();
        let (gone, more) = (missing(&is, &was), missing(&was, &is));
        let breaks = match self.direction {
            Direction::Input => gone > 0,
            Direction::Output => gone + more > 0,
        };
        if gone + more > 0 {
            let text = |count: usize| Some(format!("{count} variants"));
            self.say(field, text(was.len()), text(is.len()), breaks.then_some("its variants change"));
        }
    }
}

/// A schema with its references followed and without what is for people.
fn plain(schema: Schema<'_>, depth: usize) -> Value {
    const FOR_PEOPLE: [&str; 6] = ["title", "description", "examples", "example", "$comment", "default"];
    if depth > MAX_DEPTH {
        return json!(null);
    }
    match schema.schema {
        Value::Object(members) => {
            let target = members.get("$ref").and_then(Value::as_str);
            let target = target.and_then(|name| schema.definitions.get(name.strip_prefix("#/$defs/")?));
            if let Some(target) = target {
                return plain(schema.of(target), depth + 1);
            }
            let kept = members
                .iter()
                .filter(|(key, value)| !FOR_PEOPLE.contains(&key.as_str()) || value.is_object());
            Value::Object(
                kept.map(|(key, value)| (key.clone(), plain(schema.of(value), depth + 1))).collect(),
            )
        }
        Value::Array(items) => items.iter().map(|item| plain(schema.of(item), depth + 1)).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: &Value, after: &Value, direction: Direction) -> Vec<String> {
        let definitions = Map::new();
        let of = |schema| Schema { schema, definitions: &definitions };
        let line = |change: FieldChange| {
            let FieldChange { field, before, after, breaking } = change;
            let side = |side: Option<String>| side.unwrap_or_else(|| "-".to_owned());
            let breaking = breaking.map_or(String::new(), |why| format!(" BREAKING: {why}"));
            format!("{field}: {} -> {}{breaking}", side(before), side(after))
        };
        differences("value", of(before), of(after), direction).into_iter().map(line).collect()
    }

    fn object(properties: Value, required: &[&str]) -> Value {
        json!({ "type": "object", "properties": properties, "required": required })
    }

    #[test]
    fn what_callers_send_today_must_still_be_taken() {
        use Direction::Input;
        let text = || json!({ "a": { "type": "string" } });
        let both = || json!({ "a": { "type": "string" }, "b": { "type": "integer" } });
        for (before, after, expected) in [
            (
                object(both(), &[]),
                object(text(), &[]),
                "value.b: integer -> - BREAKING: the field is removed",
            ),
            (object(text(), &[]), object(both(), &[]), "value.b: - -> integer"),
            (
                object(text(), &[]),
                object(both(), &["b"]),
                "value.b: - -> integer, required BREAKING: the field is required",
            ),
            (
                object(text(), &[]),
                object(text(), &["a"]),
                "value.a: string -> string, required BREAKING: the field is now required",
            ),
            (
                json!({ "type": "string" }),
                json!({ "type": "integer" }),
                "value: string -> integer BREAKING: its type changes",
            ),
            (json!({ "type": "integer" }), json!({ "type": "number" }), "value: integer -> number"),
            (
                json!({ "type": "number" }),
                json!({ "type": "integer" }),
                "value: number -> integer BREAKING: its type changes",
            ),
            (
                json!({ "type": "string" }),
                json!({ "type": ["string", "null"] }),
                "value: string -> null or string",
            ),
            (
                json!({ "type": "string", "enum": ["a", "b"] }),
                json!({ "type": "string", "enum": ["a"] }),
                "value: \"a\" or \"b\" -> \"a\" BREAKING: its values change",
            ),
            (
                json!({ "type": "integer" }),
                json!({ "type": "integer", "minimum": 2 }),
                "value: - -> minimum 2 BREAKING: less is taken than before",
            ),
            (
                json!({ "type": "integer", "maximum": 2 }),
                json!({ "type": "integer", "maximum": 3 }),
                "value: maximum 2 -> maximum 3",
            ),
            (
                json!({ "type": "array", "items": { "type": "string" } }),
                json!({ "type": "array", "items": { "type": "null" } }),
                "value[]: string -> null BREAKING: its type changes",
            ),
            (
                json!({ "oneOf": [{ "const": 1 }, { "const": 2 }] }),
                json!({ "oneOf": [{ "const": 1 }, { "const": 3 }] }),
                "value: 2 variants -> 2 variants BREAKING: its variants change",
            ),
        ] {
            assert_eq!(between(&before, &after, Input), [expected], "{before} {after}");
        }
    }

    #[test]
    fn what_callers_read_today_must_still_be_there() {
        use Direction::Output;
        let text = || json!({ "a": { "type": "string" } });
        let both = || json!({ "a": { "type": "string" }, "b": { "type": "integer" } });
        for (before, after, expected) in [
            (
                object(both(), &[]),
                object(text(), &[]),
                "value.b: integer -> - BREAKING: the field is removed",
            ),
            (object(text(), &[]), object(both(), &["b"]), "value.b: - -> integer, required"),
            (
                object(text(), &["a"]),
                object(text(), &[]),
                "value.a: string, required -> string BREAKING: the field may now be missing",
            ),
            (
                json!({ "type": "string" }),
                json!({ "type": ["string", "null"] }),
                "value: string -> null or string BREAKING: its type changes",
            ),
            (json!({ "type": "number" }), json!({ "type": "integer" }), "value: number -> integer"),
            (
                json!({ "type": "integer" }),
                json!({ "type": "integer", "minimum": 2 }),
                "value: - -> minimum 2",
            ),
        ] {
            assert_eq!(between(&before, &after, Output), [expected], "{before} {after}");
        }
    }

    #[test]
    fn references_are_followed_and_a_type_may_hold_itself() {
        let tree = |leaf: &str| {
            json!({ "Tree": { "type": "object", "properties": {
                "leaf": { "type": leaf }, "inner": { "$ref": "#/$defs/Tree" } } } })
        };
        let (old, new) = (tree("string"), tree("integer"));
        let schema = json!({ "anyOf": [{ "$ref": "#/$defs/Tree" }, { "type": "null" }] });
        let of = |definitions: &Value| definitions.as_object().unwrap().clone();
        let (old, new) = (of(&old), of(&new));
        let before = Schema { schema: &schema, definitions: &old };
        let after = Schema { schema: &schema, definitions: &new };
        let found = differences("value", before, after, Direction::Input);
        assert!(found.len() <= 2, "{found:?}");
        assert!(
            found.iter().any(|change| change.field == "value.leaf" && change.breaking.is_some()),
            "{found:?}"
        );
        assert!(differences("value", before, before, Direction::Input).is_empty());
    }

    #[test]
    fn words_for_people_are_no_change() {
        let before = json!({ "type": "string", "description": "one", "title": "One" });
        let after = json!({ "type": "string", "description": "two" });
        assert!(between(&before, &after, Direction::Input).is_empty());
        let choices = |text: &str| json!({ "oneOf": [{ "const": 1, "description": text }, { "const": 2 }] });
        assert!(between(&choices("a"), &choices("b"), Direction::Input).is_empty());
    }
}
