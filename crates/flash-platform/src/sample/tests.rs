//! Every sample is accepted by the check of the gateway.
use flash_protocol::manifest::Manifest;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;
use crate::interface::InputSchemas;

/// What the gateway says of a value for this schema.
fn findings(schema: &Value, definitions: &Map<String, Value>, value: &Value) -> Vec<String> {
    let manifest = json!({
        "version": 1,
        "app": { "name": "app", "version": "1.0.0" },
        "sdk_version": "0.1.0",
        "workers": [],
        "functions": [{
            "name": "clean", "module": "main", "worker": "batch", "file": "src/main.rs", "line": 1, "docs": "",
            "arguments": [], "input": schema, "output": true, "streams": false,
        }],
        "$defs": definitions,
    });
    let manifest: Manifest = serde_json::from_value(manifest).unwrap();
    let found = InputSchemas::new(&manifest).violations(0, value);
    found.into_iter().map(|found| format!("{}: {}", found.path, found.message)).collect()
}

fn check(schema: &Value, definitions: &Map<String, Value>) -> Value {
    let found = sample(schema, definitions).unwrap_or_else(|| panic!("no sample of {schema}"));
    let findings = findings(schema, definitions, &found);
    assert!(findings.is_empty(), "{found} for {schema}: {findings:?}");
    let strict = jsonschema::options().should_validate_formats(true);
    let mut root = schema.as_object().cloned().unwrap_or_default();
    root.insert("$defs".to_owned(), Value::Object(definitions.clone()));
    assert!(strict.build(&Value::Object(root)).unwrap().is_valid(&found), "{found} for {schema}");
    found
}

/// As `schemars` writes the types that people use.
#[test]
fn types_of_rust_have_samples_that_the_door_takes() {
    for (schema, expected) in [
        (json!({ "type": "string" }), json!("text")),
        (json!({ "type": "string", "minLength": 1, "maxLength": 1 }), json!("t")),
        (json!({ "type": "string", "minLength": 6 }), json!("textte")),
        (json!({ "type": "string", "pattern": "^[A-Z]{2}-\\d+$" }), json!("AA-1")),
        (json!({ "type": "string", "pattern": "^(){4000000000}a$" }), json!("a")),
        (json!({ "type": "integer", "format": "uint8", "minimum": 0, "maximum": 255 }), json!(1)),
        (json!({ "type": "integer", "format": "uint128", "minimum": 0 }), json!(1)),
        (json!({ "type": "integer", "format": "int32", "not": { "const": 0 } }), json!(1)),
        (json!({ "type": "integer", "minimum": 10 }), json!(10)),
        (json!({ "type": "integer", "maximum": -5 }), json!(-5)),
        (json!({ "type": "integer", "exclusiveMinimum": 1, "multipleOf": 4 }), json!(4)),
        (json!({ "type": "integer", "minimum": 0.5, "maximum": 1.5 }), json!(1)),
        (json!({ "type": "number", "format": "double" }), json!(1.0)),
        (json!({ "type": "number", "minimum": 0, "maximum": 0.5 }), json!(0.25)),
        (json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }), json!(0.5)),
        (json!({ "type": ["string", "null"] }), json!("text")),
        (json!({ "type": ["null", "integer"] }), json!(1)),
        (json!({ "type": "null" }), json!(null)),
        (json!({ "anyOf": [{ "type": "null" }, { "type": "boolean" }] }), json!(true)),
        (
            json!({ "type": "array", "minItems": 2, "maxItems": 2,
                "prefixItems": [{ "type": "string" }, { "type": "integer" }] }),
            json!(["text", 1]),
        ),
        (
            json!({ "type": "array", "items": { "type": "integer" }, "minItems": 3, "maxItems": 3 }),
            json!([1, 1, 1]),
        ),
        (
            json!({ "type": "array", "uniqueItems": true, "items": { "type": "string" }, "minItems": 2 }),
            json!(["text", "text1"]),
        ),
        (json!({ "type": "object", "additionalProperties": { "type": "integer" } }), json!({ "key": 1 })),
        (
            json!({ "type": "object", "additionalProperties": false,
                "patternProperties": { "^\\d+$": { "type": "string" } } }),
            json!({ "1": "text" }),
        ),
        (json!({ "type": "string", "enum": ["Small", "Large"] }), json!("Small")),
        (
            json!({ "type": "object", "required": ["at"],
                "properties": { "at": { "type": "integer" }, "more": { "type": "string" } } }),
            json!({ "at": 1 }),
        ),
        (json!({ "type": "integer", "maximum": 3, "examples": [7, 2] }), json!(2)),
        (json!({ "type": "string", "default": "usual" }), json!("usual")),
        (json!(true), json!({})),
    ] {
        assert_eq!(check(&schema, &Map::new()), expected, "{schema}");
    }
    for format in [
        "uuid",
        "date-time",
        "date",
        "time",
        "duration",
        "email",
        "hostname",
        "uri",
        "uri-reference",
        "ipv4",
        "ipv6",
        "json-pointer",
        "regex",
    ] {
        assert_ne!(
            check(&json!({ "type": "string", "format": format }), &Map::new()),
            json!("text"),
            "{format}"
        );
    }
}

#[test]
fn enums_flattened_and_recursive_types_have_samples() {
    let definitions = json!({
        // An expression: the first variant holds two more.
        "Expr": { "oneOf": [
            { "type": "object", "additionalProperties": false, "required": ["Add"], "properties": { "Add": {
                "type": "array", "minItems": 2, "maxItems": 2,
                "prefixItems": [{ "$ref": "#/$defs/Expr" }, { "$ref": "#/$defs/Expr" }] } } },
            { "type": "object", "additionalProperties": false, "required": ["Lit"],
                "properties": { "Lit": { "type": "integer" } } },
        ] },
        "Tree": { "type": "object", "required": ["name", "children"], "properties": {
            "name": { "type": "string" },
            "children": { "type": "array", "items": { "$ref": "#/$defs/Tree" } } } },
        "Circle": { "type": "object", "required": ["radius"], "properties": { "radius": { "type": "number" } } },
        "Shape": { "oneOf": [
            { "type": "object", "properties": { "kind": { "type": "string", "const": "circle" } },
                "required": ["kind"], "$ref": "#/$defs/Circle" },
            { "type": "object", "properties": { "kind": { "type": "string", "const": "dot" } }, "required": ["kind"] },
        ] },
        "Untagged": { "anyOf": [{ "type": "array", "minItems": 100, "items": { "type": "string" } }, { "type": "string" }] },
    });
    let definitions = definitions.as_object().unwrap().clone();
    let reference = |name: &str| json!({ "$ref": format!("#/$defs/{name}") });
    let text = json!({ "type": "string" });
    for (schema, expected) in [
        (reference("Expr"), json!({ "Lit": 1 })),
        (reference("Tree"), json!({ "name": "text", "children": [] })),
        (reference("Shape"), json!({ "kind": "dot" })),
        (
            json!({ "type": "object", "properties": { "kind": { "const": "circle" } }, "required": ["kind"],
                "$ref": "#/$defs/Circle" }),
            json!({ "kind": "circle", "radius": 1.0 }),
        ),
        (json!({ "allOf": [text, { "description": "short" }] }), json!("text")),
        (reference("Untagged"), json!("text")),
        (json!({ "allOf": [reference("Circle"), { "description": "round" }] }), json!({ "radius": 1.0 })),
        // A struct with an enum flattened into it.
        (
            json!({ "type": "object", "required": ["id"], "properties": { "id": text },
                "oneOf": [{ "type": "object", "required": ["a"], "properties": { "a": text } },
                    { "type": "object", "required": ["b"], "properties": { "b": text } }] }),
            json!({ "id": "text", "a": "text" }),
        ),
    ] {
        assert_eq!(check(&schema, &definitions), expected, "{schema}");
    }
}

#[test]
fn what_has_no_end_and_what_no_value_fits_has_no_sample() {
    let endless = json!({ "A": { "type": "object", "required": ["a", "b"],
        "properties": { "a": { "$ref": "#/$defs/A" }, "b": { "$ref": "#/$defs/A" } } } });
    let endless = endless.as_object().unwrap();
    for schema in [
        json!({ "$ref": "#/$defs/A" }),
        json!({ "$ref": "#/$defs/Missing" }),
        json!({ "$ref": "https://example.com/schema" }),
        json!(false),
        json!({ "enum": [] }),
        json!({ "type": "string", "minLength": 1_000_000 }),
        json!({ "type": "array", "minItems": u64::MAX, "items": true }),
        json!({ "type": "object", "minProperties": u64::MAX, "additionalProperties": true }),
        json!({ "type": "string", "pattern": "(((a{1000}){1000}){1000})" }),
        json!({ "type": "integer", "minimum": 5, "maximum": 4 }),
        json!({ "type": "integer", "minimum": 1e300 }),
        json!({ "type": "unknown" }),
    ] {
        assert_eq!(sample(&schema, endless), None, "{schema}");
    }
}

/// Schemas as types make them.
fn schemas() -> impl Strategy<Value = Value> {
    let integer =
        (any::<i16>(), 0..2000i64, any::<bool>()).prop_map(|(least, width, bounded)| match bounded {
            true => json!({ "type": "integer", "minimum": least, "maximum": i64::from(least) + width }),
            false => json!({ "type": "integer" }),
        });
    let number = (-9.0..9.0f64, 0.1..9.0f64).prop_map(
        |(least, width)| json!({ "type": "number", "minimum": least, "exclusiveMaximum": least + width }),
    );
    let text = (0..9u64, 0..9u64)
        .prop_map(|(least, more)| json!({ "type": "string", "minLength": least, "maxLength": least + more }));
    let format = prop::sample::select(vec!["uuid", "date-time", "date", "ipv4", "uri"])
        .prop_map(|format| json!({ "type": "string", "format": format }));
    let pattern = prop::sample::select(vec!["^a+b?$", "^[0-9a-f]{8}$", "^(x|y)*z$", "\\w{3}"])
        .prop_map(|pattern| json!({ "type": "string", "pattern": pattern }));
    let simple = prop_oneof![
        integer,
        number,
        text,
        format,
        pattern,
        Just(json!({ "type": "boolean" })),
        Just(json!({ "type": "null" })),
        Just(json!({ "enum": ["A", "B"] })),
        Just(json!({ "$ref": "#/$defs/Tree" })),
    ];
    simple.prop_recursive(4, 24, 4, |inner| {
        let inner = inner.boxed();
        prop_oneof![
            (inner.clone(), 0..4u64).prop_map(|(items, least)| json!({ "type": "array", "items": items, "minItems": least })),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|items| {
                let count = items.len();
                json!({ "type": "array", "prefixItems": items, "minItems": count, "maxItems": count })
            }),
            inner.clone().prop_map(|value| json!({ "type": "object", "additionalProperties": value })),
            inner.clone().prop_map(|value| json!({ "anyOf": [value, { "type": "null" }] })),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|choices| json!({ "anyOf": choices })),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|choices| {
                let variant = |(number, value): (usize, Value)| {
                    let tag = format!("V{number}");
                    json!({ "type": "object", "required": ["tag", "content"],
                        "properties": { "tag": { "const": tag }, "content": value } })
                };
                json!({ "oneOf": choices.into_iter().enumerate().map(variant).collect::<Vec<_>>() })
            }),
            prop::collection::vec((inner, any::<bool>()), 0..4).prop_map(|fields| {
                let required: Vec<String> =
                    fields.iter().enumerate().filter(|(_, (_, needed))| *needed).map(|(at, _)| format!("f{at}")).collect();
                let properties: Map<String, Value> =
                    fields.into_iter().enumerate().map(|(at, (schema, _))| (format!("f{at}"), schema)).collect();
                json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_a_type_may_be_the_door_takes_its_sample(schema in schemas()) {
        let tree = json!({ "Tree": { "type": "object", "required": ["children"],
            "properties": { "children": { "type": "array", "items": { "$ref": "#/$defs/Tree" } } } } });
        check(&schema, tree.as_object().unwrap());
    }
}
