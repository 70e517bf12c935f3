//! The reported differences between two schemas.
use serde_json::json;

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
        (object(both(), &[]), object(text(), &[]), "value.b: integer -> - BREAKING: the field is removed"),
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
            "value: - -> minimum 2 BREAKING: it accepts less than before",
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
        (object(both(), &[]), object(text(), &[]), "value.b: integer -> - BREAKING: the field is removed"),
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
        (json!({ "type": "integer" }), json!({ "type": "integer", "minimum": 2 }), "value: - -> minimum 2"),
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

#[test]
fn types_that_hold_themselves_several_times_are_compared_in_no_time() {
    let optional =
        |name: &str| json!({ "anyOf": [{ "$ref": format!("#/$defs/{name}") }, { "type": "null" }] });
    let definitions = |changed: Value| {
        let tree = json!({ "type": "object", "properties": {
            "left": optional("Tree"), "right": optional("Tree"), "leaf": { "$ref": "#/$defs/Leaf" } } });
        let mut all = Map::from_iter([("Tree".to_owned(), tree), ("Leaf".to_owned(), changed)]);
        // Each contains all the others, several times.
        let others: Value = (0..12)
            .map(|other| (format!("f{other}"), optional(&format!("Knot{other}"))))
            .collect::<Map<_, _>>()
            .into();
        for knot in 0..12 {
            let choice = json!({ "type": "object", "properties": others });
            all.insert(format!("Knot{knot}"), json!({ "oneOf": [choice, { "const": knot }] }));
        }
        all
    };
    let old = definitions(json!({ "type": "object", "properties": { "a": { "type": "string" } } }));
    let new = definitions(json!({ "type": "object", "properties": { "a": { "type": "integer" } } }));
    let schema =
        json!({ "type": "object", "properties": { "tree": optional("Tree"), "knot": optional("Knot0") } });
    let (before, after) =
        (Schema { schema: &schema, definitions: &old }, Schema { schema: &schema, definitions: &new });
    for direction in [Direction::Input, Direction::Output] {
        let found = differences("value", before, after, direction);
        let fields: Vec<&str> = found.iter().map(|change| change.field.as_str()).collect();
        assert_eq!(fields, ["value.tree.leaf.a"], "{found:?}");
        assert!(found[0].breaking.is_some());
    }
}

#[test]
fn what_was_once_overlooked_is_seen() {
    use Direction::{Input, Output};
    let tuple =
        |second: &str| json!({ "type": "array", "prefixItems": [{ "type": "string" }, { "type": second }] });
    let tagged = |kind: &str| json!({ "type": "object", "properties": { "size": { "type": kind } }, "oneOf": [{ "const": 1 }, { "const": 2 }] });
    let closed = |open: bool| json!({ "type": "object", "additionalProperties": open });
    let number = |format: &str| json!({ "type": "integer", "format": format });
    let list = |unique: bool| json!({ "type": "array", "uniqueItems": unique });
    let some = json!({ "type": "array", "items": { "type": "string" } });
    let any = json!({ "type": "array" });
    for (before, after, direction, expected) in [
        (tuple("string"), tuple("integer"), Input, "value[1]: string -> integer BREAKING: its type changes"),
        (
            tagged("string"),
            tagged("integer"),
            Input,
            "value.size: string -> integer BREAKING: its type changes",
        ),
        (
            closed(true),
            closed(false),
            Input,
            "value{}: anything -> nothing BREAKING: its allowed content changes",
        ),
        (closed(true), closed(false), Output, "value{}: anything -> nothing"),
        (
            any.clone(),
            some.clone(),
            Input,
            "value[]: anything -> string BREAKING: its allowed content changes",
        ),
        (some, any, Output, "value[]: string -> anything BREAKING: its allowed content changes"),
        (
            number("uint64"),
            number("uint32"),
            Input,
            "value: format uint64 -> format uint32 BREAKING: its format changes",
        ),
        (number("uint32"), number("uint64"), Input, "value: format uint32 -> format uint64"),
        (number("uint32"), number("int64"), Input, "value: format uint32 -> format int64"),
        (
            json!({ "type": "string", "format": "uuid" }),
            json!({ "type": "string", "format": "date" }),
            Output,
            "value: format uuid -> format date BREAKING: its format changes",
        ),
        (list(false), list(true), Input, "value: uniqueItems false -> uniqueItems true BREAKING: it changes"),
        (
            json!({ "type": "integer" }),
            json!({ "type": "integer", "multipleOf": 2 }),
            Input,
            "value: - -> multipleOf 2 BREAKING: it changes",
        ),
    ] {
        assert_eq!(between(&before, &after, direction), [expected], "{before} {after}");
    }
}

#[test]
fn a_type_that_is_used_twice_is_compared_at_each_place() {
    let definitions = Map::from_iter([("Id".to_owned(), json!({ "type": "string" }))]);
    let id = || json!({ "$ref": "#/$defs/Id" });
    let before = object(json!({ "a": id(), "b": id() }), &[]);
    let after = object(json!({ "a": id(), "b": { "anyOf": [id(), { "type": "null" }] } }), &[]);
    let of = |schema| Schema { schema, definitions: &definitions };
    let found = differences("value", of(&before), of(&after), Direction::Output);
    assert_eq!(
        found.iter().map(|change| change.field.as_str()).collect::<Vec<_>>(),
        ["value.b"],
        "{found:?}"
    );
}
