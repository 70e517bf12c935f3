//! Where the arguments of a function come from: path, query, or body.
//!
//! It follows from the function's route and the schemas of its arguments alone. Beside it: what the type of its chunks
//! says about them.
use flash_protocol::{manifest::ArgumentSource, wire::events::NAMED_CHUNK_KEYWORD};
use schemars::SchemaGenerator;
use serde_json::Value;

use super::{
    argument::{Argument, Output},
    request_part::Part,
    route::Route,
};

/// Where a function's arguments come from.
#[derive(Debug)]
pub struct Binding {
    /// By argument.
    pub sources: Vec<ArgumentSource>,
    /// Whether the single body argument is the body itself.
    pub whole_body: bool,
    /// Whether the single body argument is the raw body of the request.
    pub raw_body: bool,
    /// By argument: whether its key may be repeated in the query.
    pub(crate) takes: Vec<Takes>,
    /// Whether its chunks are [`Event`](crate::stream::Event)s, which say how they look as server-sent events.
    pub(crate) streams_events: bool,
}

/// What a parameter may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Takes {
    /// One value.
    One,
    /// A list of values.
    List,
}

impl Binding {
    /// The binding of these arguments, for a job or for this route.
    pub(super) fn of(route: Option<Route>, arguments: &[Argument], output: &Output) -> Self {
        let source = |argument: &Argument| match route {
            _ if let Some(request) = argument.request => match request.part.body_type() {
                Some(_) => ArgumentSource::Body,
                None => ArgumentSource::Headers,
            },
            Some(route) if route.parameters().any(|name| name == argument.name) => ArgumentSource::Path,
            Some(route) if matches!(route.method, "GET" | "DELETE" | "HEAD") => ArgumentSource::Query,
            _ => ArgumentSource::Body,
        };
        let sources: Vec<_> = arguments.iter().map(source).collect();
        let mut in_body =
            arguments.iter().zip(&sources).filter(|(_, source)| **source == ArgumentSource::Body);
        let (whole_body, raw_body) = match (in_body.next(), in_body.next()) {
            (Some((Argument { request: Some(_), .. }, _)), None) => (false, true),
            (Some((argument, _)), None) => {
                (is_object(&lone_schema(argument)), route.is_some() && (argument.is_bytes)())
            }
            _ => (false, false),
        };
        let takes = |argument: &Argument| match allows(&lone_schema(argument), "array") {
            true => Takes::List,
            false => Takes::One,
        };
        let takes = arguments.iter().map(takes).collect();
        let chunk = (output.schema)(&mut SchemaGenerator::default());
        let streams_events = chunk.get(NAMED_CHUNK_KEYWORD).is_some();
        Self { sources, whole_body, raw_body, takes, streams_events }
    }

    /// Levels of objects around a body argument.
    pub(crate) fn depth(&self) -> u8 {
        u8::from(!self.whole_body)
    }

    /// Schema of the body; `None` if nothing is read from it.
    pub(crate) fn input_schema(
        &self,
        arguments: &[Argument],
        generator: &mut SchemaGenerator,
    ) -> Option<Value> {
        let mut in_body = arguments
            .iter()
            .zip(&self.sources)
            .filter(|(_, source)| **source == ArgumentSource::Body)
            .map(|(argument, _)| argument)
            .peekable();
        in_body.peek()?;
        if self.raw_body {
            let form = in_body
                .next()
                .filter(|argument| matches!(argument.request, Some(request) if request.part == Part::Form));
            return Some(match form {
                Some(_) => serde_json::json!({ "type": "object" }),
                None => serde_json::json!({ "type": "string", "format": "binary" }),
            });
        }
        if self.whole_body {
            return in_body.next().map(|argument| (argument.schema)(generator).to_value());
        }
        let (mut properties, mut required) = (serde_json::Map::new(), Vec::new());
        for argument in in_body {
            properties.insert(argument.name.to_owned(), (argument.schema)(generator).to_value());
            if !(argument.optional)() {
                required.push(argument.name);
            }
        }
        Some(serde_json::json!({ "type": "object", "properties": properties, "required": required }))
    }
}

fn lone_schema(argument: &Argument) -> Value {
    let mut generator = SchemaGenerator::default();
    let schema = (argument.schema)(&mut generator).to_value();
    let mut root = match schema {
        Value::Object(root) => root,
        // `true`: any JSON at all.
        _ => serde_json::Map::new(),
    };
    root.insert("$defs".to_owned(), Value::Object(generator.take_definitions(true)));
    Value::Object(root)
}

/// Whether every value of this root schema is a JSON object, or anything is allowed.
fn is_object(root: &Value) -> bool {
    let mut kinds = Vec::new();
    match kinds_of(root, root, 0, &mut kinds) {
        Kinds::Any => true,
        Kinds::Listed => !kinds.is_empty() && kinds.iter().all(|kind| kind == "object"),
        Kinds::Unknown => false,
    }
}

/// Whether some value of this root schema is of this JSON type.
fn allows(root: &Value, wanted: &str) -> bool {
    let mut kinds = Vec::new();
    match kinds_of(root, root, 0, &mut kinds) {
        Kinds::Any => true,
        Kinds::Listed | Kinds::Unknown => kinds.iter().any(|kind| kind == wanted),
    }
}

/// Which types a schema allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    /// Any type: `serde_json::Value`.
    Any,
    /// All of them are listed.
    Listed,
    /// There may be others.
    Unknown,
}

/// Lists the JSON types that a schema allows.
fn kinds_of(schema: &Value, root: &Value, depth: u32, kinds: &mut Vec<String>) -> Kinds {
    let Value::Object(members) = schema else {
        return if schema == &Value::Bool(true) { Kinds::Any } else { Kinds::Unknown };
    };
    match members.get("type") {
        Some(Value::String(kind)) => {
            kinds.push(kind.clone());
            return Kinds::Listed;
        }
        Some(Value::Array(listed)) => {
            kinds.extend(listed.iter().filter_map(|kind| kind.as_str().map(str::to_owned)));
            return Kinds::Listed;
        }
        _ => {}
    }
    if let Some(target) = members.get("$ref").and_then(Value::as_str) {
        let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return match target {
            Some(target) if depth < 16 => kinds_of(target, root, depth + 1, kinds),
            _ => Kinds::Unknown,
        };
    }
    let choices = ["oneOf", "anyOf"].iter().filter_map(|key| members.get(*key)?.as_array()).flatten();
    let all: Vec<Kinds> = choices.map(|choice| kinds_of(choice, root, depth + 1, kinds)).collect();
    match all.as_slice() {
        [] if members.contains_key("enum") || members.contains_key("const") => Kinds::Unknown,
        all if all.iter().all(|kinds| *kinds == Kinds::Any) => Kinds::Any,
        all if all.contains(&Kinds::Unknown) => Kinds::Unknown,
        _ => Kinds::Listed,
    }
}
