use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde_json::json;

use super::*;

#[expect(dead_code, reason = "only their schemas are asked")]
mod types {
    use super::*;

    #[derive(JsonSchema)]
    #[serde(tag = "kind", rename_all = "snake_case")]
    pub(super) enum Tagged {
        Circle { radius: f64 },
        Square { side: u32, corner: Option<Box<Tagged>> },
        Nested(Inner),
        Empty,
    }

    #[derive(JsonSchema)]
    pub(super) struct Inner {
        width: u8,
    }

    #[derive(JsonSchema)]
    #[serde(tag = "t", content = "c")]
    pub(super) enum Beside {
        Text(String),
        Number(u32),
    }

    #[derive(JsonSchema)]
    pub(super) enum Outside {
        Unit,
        Other,
        Text(String),
        Wide { width: u8 },
    }

    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub(super) enum Untagged {
        Text(String),
        Wide { width: u8 },
        Tall { height: u8 },
    }

    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    pub(super) struct Closed {
        known: u8,
    }

    #[derive(JsonSchema)]
    #[serde(tag = "op", rename_all = "snake_case")]
    pub(super) enum Formula {
        Number { value: f64 },
        Sum { left: Box<Formula>, right: Box<Formula> },
        Product { left: Box<Formula>, right: Box<Formula> },
        All { of: Vec<Formula> },
    }

    #[derive(JsonSchema)]
    #[serde(untagged)]
    pub(super) enum Tree {
        Leaf(u8),
        Pair { left: Box<Tree>, right: Box<Tree> },
        Single { left: Box<Tree> },
    }

    #[derive(JsonSchema)]
    pub(super) struct All {
        #[serde(default)]
        tagged: Vec<Tagged>,
        beside: Option<Beside>,
        outside: Option<Outside>,
        untagged: Option<Untagged>,
        closed: Option<Closed>,
        #[serde(default)]
        map: BTreeMap<String, u8>,
    }
}

fn wrong_with(value: &Value) -> Vec<(String, String)> {
    let schema = schemars::schema_for!(types::All).to_value();
    let fields = violations(&schema, value, |_, _| true);
    fields.into_iter().map(|field| (field.path, field.message)).collect()
}

#[track_caller]
fn one(value: Value, path: &str, message: &str) {
    assert_eq!(wrong_with(&value), [(path.to_owned(), message.to_owned())], "{value}");
}

#[test]
fn what_fits_is_not_refused() {
    let value = json!({
        "tagged": [{"kind": "circle", "radius": 1.5}, {"kind": "nested", "width": 1}, {"kind": "empty"}],
        "beside": {"t": "Text", "c": "a"},
        "outside": {"Wide": {"width": 1}},
        "untagged": "a",
    });
    assert_eq!(wrong_with(&value), []);
}

#[test]
fn a_wrong_tag_is_named_with_the_variants_that_there_are() {
    let variants = "expected one of `circle`, `square`, `nested`, `empty`";
    one(json!({"tagged": [{"kind": "circl", "radius": 1}]}), "/tagged/0/kind", variants);
    one(json!({"tagged": [{"kind": 7}]}), "/tagged/0/kind", variants);
    one(json!({"tagged": [{"radius": 1}]}), "/tagged/0/kind", &format!("missing: {variants}"));
    one(json!({"tagged": ["circle"]}), "/tagged/0", "expected object, got string");
    one(json!({"beside": {"t": "Txt", "c": ""}}), "/beside/t", "expected one of `Text`, `Number`");
}

#[test]
fn content_is_judged_by_the_variant_that_the_tag_names() {
    one(json!({"tagged": [{"kind": "circle"}]}), "/tagged/0/radius", "missing");
    one(
        json!({"tagged": [{"kind": "square", "side": "x"}]}),
        "/tagged/0/side",
        "expected integer, got string",
    );
    one(json!({"tagged": [{"kind": "nested"}]}), "/tagged/0/width", "missing");
    one(
        json!({"tagged": [{"kind": "square", "side": 1, "corner": {"kind": "circle", "radius": "x"}}]}),
        "/tagged/0/corner/radius",
        "expected number, got string",
    );
    one(json!({"beside": {"t": "Text", "c": 1}}), "/beside/c", "expected string, got integer");
    one(json!({"outside": {"Wide": {}}}), "/outside/Wide/width", "missing");
}

#[test]
fn a_variant_that_there_is_not_is_refused_with_those_that_there_are() {
    let forms = "expected one of `Unit`, `Other`, `{\"Text\": …}`, `{\"Wide\": …}`";
    for wrong in [json!("unit"), json!({"Txt": "a"}), json!({})] {
        one(json!({"outside": wrong}), "/outside", forms);
    }
    one(json!({"outside": 7}), "/outside", "expected string or object or null, got integer");
}

#[test]
fn an_untagged_choice_is_judged_by_the_form_that_its_type_allows() {
    one(json!({"untagged": 7}), "/untagged", "expected string or object or null, got integer");
    one(json!({"closed": 7}), "/closed", "expected object or null, got integer");
    one(json!({"closed": {"known": 1, "unknown": 2}}), "/closed", "unknown: `unknown`");
}

fn wrong_for<T: JsonSchema>(value: &Value) -> Vec<(String, String)> {
    let fields = violations(&schemars::schema_for!(T).to_value(), value, |_, _| true);
    fields.into_iter().map(|field| (field.path, field.message)).collect()
}

/// The formula or tree that ends in `leaf`, so deep.
fn nested(depth: usize, leaf: Value, wrap: fn(Value) -> Value) -> Value {
    (0..depth).fold(leaf, |inner, _| wrap(inner))
}

#[test]
fn a_type_that_contains_itself_takes_no_longer_the_deeper_a_value_is() {
    let sum = |left: Value| json!({"op": "sum", "left": left, "right": {"op": "number", "value": 1}});
    let right = nested(60, json!({"op": "number", "value": 1.5}), sum);
    assert_eq!(wrong_for::<types::Formula>(&right), []);
    let wrong = nested(60, json!({"op": "number", "value": "x"}), sum);
    let path = format!("{}/value", "/left".repeat(60));
    let found = wrong_for::<types::Formula>(&wrong);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0.starts_with(&path[..190]) && found[0].1.starts_with("expected "), "{found:?}");
    let unknown = json!({"op": "all", "of": [{"op": "number", "value": 1}, {"op": "nmber"}]});
    let expected = "expected one of `number`, `sum`, `product`, `all`";
    assert_eq!(wrong_for::<types::Formula>(&unknown), [("/of/1/op".to_owned(), expected.to_owned())]);

    let single = |left: Value| json!({"left": left});
    assert_eq!(wrong_for::<types::Tree>(&nested(60, json!(7), single)), []);
    let found = wrong_for::<types::Tree>(&nested(60, json!("x"), single));
    assert_eq!(found, [(String::new(), "matches none of the 3 allowed forms".to_owned())]);
    let pair = |left: Value| json!({"left": left, "right": 1});
    assert_eq!(wrong_for::<types::Tree>(&nested(60, json!(7), pair)), []);
    assert_eq!(wrong_for::<types::Tree>(&nested(60, json!(true), pair)).len(), 1);
}

#[test]
fn no_value_is_repeated_and_no_finding_is_long() {
    let secret = "hunter2".repeat(30_000);
    for wrong in [
        json!({"tagged": [{"kind": secret}]}),
        json!({"tagged": [{"kind": "circle", "radius": secret}]}),
        json!({"tagged": secret}),
        json!({"beside": {"t": "Number", "c": secret}}),
        json!({"outside": secret}),
        json!({"outside": {"Wide": {"width": secret}}}),
        json!({"untagged": [secret]}),
        json!({"untagged": {"width": secret}}),
        json!({"map": {"a": secret}}),
        json!(secret),
    ] {
        let found = wrong_with(&wrong);
        assert!(
            !found.is_empty() && found.iter().all(|(_, message)| !message.contains("hunter2")),
            "{found:?}"
        );
    }
    let names: serde_json::Map<String, Value> =
        (0..100).map(|n| (format!("{n}{secret}"), json!("x"))).collect();
    let found = wrong_with(&json!({"map": names, "closed": names}));
    let length: usize =
        found.iter().map(|(path, message)| path.chars().count() + message.chars().count()).sum();
    assert!(found.len() <= MAX_FINDINGS && length <= MAX_FINDINGS * 402, "{length}");
}
