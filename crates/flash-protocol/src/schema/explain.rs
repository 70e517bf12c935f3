//! Finds where a value does not match its schema. It walks along both, and in a choice follows only the intended
//! form.
//!
//! The validator's own list of errors checks every form of an enum, and every form inside each. For types that
//! contain themselves, that is exponential in the depth of a value: a hundred bytes can keep a thread busy for years.
//! This walk enters one form of a choice and remembers what it found about each value and schema, so it is linear in
//! the value. The validator still checks the rules of a single node.
use std::{collections::HashMap, sync::Arc};

use jsonschema::Validator;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::{Findings, TextFormats, choice, compile};
use crate::FieldError;

/// Nodes and values are identified by their address, because neither moves.
type Place = usize;

fn place_of(value: &Value) -> Place {
    std::ptr::from_ref(value).addr()
}

/// The rules of each node of a schema, compiled at first use.
pub(super) struct Nodes {
    texts: TextFormats,
    compiled: Mutex<HashMap<Place, Option<Arc<Validator>>>>,
}

impl Nodes {
    pub(super) fn new(texts: TextFormats) -> Self {
        Self { texts, compiled: Mutex::default() }
    }

    fn of(&self, node: &Value, root: &Value) -> Option<Arc<Validator>> {
        let mut compiled = self.compiled.lock();
        let compiling = || compile(&without_parts(node, root), self.texts).map(Arc::new);
        compiled.entry(place_of(node)).or_insert_with(compiling).clone()
    }
}

pub(super) struct Walk<'a> {
    root: &'a Value,
    nodes: &'a Nodes,
    fitting: HashMap<(Place, Place), bool>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(root: &'a Value, nodes: &'a Nodes) -> Self {
        Self { root, nodes, fitting: HashMap::new() }
    }

    /// Everything in `value` that does not match.
    pub(super) fn findings(&mut self, value: &'a Value) -> Vec<FieldError> {
        let mut found = Findings::default();
        self.node(self.root, value, "", &mut found);
        found.fields
    }

    fn node(&mut self, schema: &'a Value, value: &'a Value, path: &str, found: &mut Findings) {
        if found.is_full() {
            return;
        }
        let Value::Object(schema_members) = schema else {
            if schema == &Value::Bool(false) {
                found.push(FieldError::new(path, "not allowed"));
            }
            return;
        };
        let before = found.fields.len();
        self.own_rules(schema, value, path, found);
        if let Some(target) = self.target_of(schema_members) {
            self.node(target, value, path, found);
        }
        for part in schema_members.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.node(part, value, path, found);
        }
        // If the whole value is wrong, errors about its parts would be misleading.
        if found.fields[before..].iter().any(|field| field.path == path) {
            return;
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(forms) = schema_members.get(key).and_then(Value::as_array) {
                self.choice(forms, value, path, found);
            }
        }
        self.members(schema_members, value, path, found);
        self.items(schema_members, value, path, found);
    }

    fn target_of(&self, schema: &'a Map<String, Value>) -> Option<&'a Value> {
        let target = schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(target)
    }

    /// Checks the rules of the node itself: type, range, members.
    fn own_rules(&self, schema: &Value, value: &Value, path: &str, found: &mut Findings) {
        let Some(node) = self.nodes.of(schema, self.root) else { return };
        if !node.is_valid(value) {
            node.iter_errors(value).for_each(|error| found.add(path, &error));
        }
    }

    fn choice(&mut self, forms: &'a [Value], value: &'a Value, path: &str, found: &mut Findings) {
        match choice::choose(self.root, forms, value) {
            choice::Meant::Form(index) => self.node(&forms[index], value, path, found),
            choice::Meant::OneOf(indices) => {
                if !indices.iter().any(|index| self.fits(&forms[*index], value)) {
                    let message = format!("matches none of the {} allowed forms", forms.len());
                    found.push(FieldError::new(path, message));
                }
            }
            choice::Meant::None { member, message } => {
                let path = member.map_or_else(|| path.to_owned(), |member| below(path, &member));
                found.push(FieldError::new(path, message));
            }
        }
    }

    fn fits(&mut self, schema: &'a Value, value: &'a Value) -> bool {
        let place = (place_of(schema), place_of(value));
        if let Some(known) = self.fitting.get(&place) {
            return *known;
        }
        let mut found = Findings::default();
        self.node(schema, value, "", &mut found);
        let fits = found.fields.is_empty();
        self.fitting.insert(place, fits);
        fits
    }

    fn members(
        &mut self,
        schema: &'a Map<String, Value>,
        value: &'a Value,
        path: &str,
        found: &mut Findings,
    ) {
        let Value::Object(members) = value else { return };
        let known = schema.get("properties").and_then(Value::as_object);
        for (name, schema) in known.into_iter().flatten() {
            if let Some(member) = members.get(name) {
                self.node(schema, member, &below(path, name), found);
            }
        }
        let Some(others) = schema.get("additionalProperties").filter(|others| others.is_object()) else {
            return;
        };
        if schema.contains_key("patternProperties") {
            return;
        }
        for (name, member) in members {
            if !known.is_some_and(|known| known.contains_key(name)) {
                self.node(others, member, &below(path, name), found);
            }
        }
    }

    fn items(&mut self, schema: &'a Map<String, Value>, value: &'a Value, path: &str, found: &mut Findings) {
        let Value::Array(items) = value else { return };
        let first = schema.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, (schema, item)) in first.iter().zip(items).enumerate() {
            self.node(schema, item, &format!("{path}/{index}"), found);
        }
        let Some(rest) = schema.get("items").filter(|rest| rest.is_object()) else { return };
        for (index, item) in items.iter().enumerate().skip(first.len()) {
            if found.is_full() {
                return;
            }
            self.node(rest, item, &format!("{path}/{index}"), found);
        }
    }
}

/// The path of a member, as a JSON pointer.
pub(super) fn below(path: &str, member: &str) -> String {
    format!("{path}/{}", member.replace('~', "~0").replace('/', "~1"))
}

/// A node without the parts that the walk enters itself.
fn without_parts(schema: &Value, root: &Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut own = Map::new();
    for (key, rule) in members {
        let rule = match (key.as_str(), rule) {
            (
                "$ref" | "$defs" | "allOf" | "anyOf" | "oneOf" | "unevaluatedProperties" | "unevaluatedItems",
                _,
            ) => continue,
            ("properties", Value::Object(known)) => {
                Value::Object(known.keys().map(|name| (name.clone(), Value::Bool(true))).collect())
            }
            ("prefixItems", Value::Array(first)) => json!(vec![true; first.len()]),
            ("additionalProperties" | "items", Value::Object(_))
                if !members.contains_key("patternProperties") =>
            {
                continue;
            }
            _ => rule.clone(),
        };
        own.insert(key.clone(), rule);
    }
    // The rest may still contain references, as in `patternProperties`.
    if let Some(definitions) = root.get("$defs").filter(|_| own.contains_key("patternProperties")) {
        own.insert("$defs".to_owned(), definitions.clone());
    }
    Value::Object(own)
}
