//! How a function's arguments become JSON and come back.
//!
//! One rule for jobs and routes. A route's path parameters bind by name, then the query for methods
//! without a body, else the JSON body. What is left for the body: a lone argument whose type is a JSON
//! object (a struct, a map, any JSON) *is* the body; otherwise each argument is a field of its name.
//!
//! Decoding trusts serde alone. The schema is asked only after serde refused, to name every wrong field.
use std::{borrow::Cow, collections::HashMap};

use schemars::{JsonSchema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    Error, ErrorKind, FieldError, Result,
    manifest::ArgumentSource,
    registry::{Argument, Function},
    wire::{RawJson, fault, fault_of_field},
};

/// What a type needs to be an argument or a result: `Serialize`, `Deserialize` and `JsonSchema`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument or a result of a `#[remote]` function",
    label = "not all of `Serialize`, `DeserializeOwned`, `JsonSchema`, `Send` and `'static`",
    note = "derive what is missing: `#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]`"
)]
pub trait Wire: Serialize + DeserializeOwned + JsonSchema + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + JsonSchema + Send + 'static> Wire for T {}

impl Argument {
    /// An argument of this name and type.
    pub const fn of<T: Wire>(name: &'static str) -> Self {
        Self {
            name,
            schema: |generator| generator.subschema_for::<T>(),
            optional: || missing::<T>().is_some(),
        }
    }
}

/// What a request brought for a function.
#[derive(Debug, Default)]
pub struct Input {
    /// The JSON body, or a job's input.
    pub body: Option<RawJson>,
    /// Path and query parameters, decoded.
    pub text: Vec<(String, String)>,
}

impl Input {
    /// A job's input.
    pub fn job(input: Option<RawJson>) -> Self {
        Self { body: input, text: Vec::new() }
    }
}

/// Where a function's arguments come from.
#[derive(Debug)]
pub struct Binding {
    /// By argument.
    pub sources: Vec<ArgumentSource>,
    /// The lone body argument that is the body itself.
    pub whole_body: bool,
}

impl Function {
    /// Where its arguments come from.
    pub fn binding(&self) -> &Binding {
        self.binding.get_or_init(|| Binding::of(self))
    }
}

impl Binding {
    fn of(function: &Function) -> Self {
        let source = |argument: &Argument| match &function.route {
            Some(route) if path_parameters(route.path).any(|name| name == argument.name) => {
                ArgumentSource::Path
            }
            Some(route) if matches!(route.method, "GET" | "DELETE" | "HEAD") => ArgumentSource::Query,
            _ => ArgumentSource::Body,
        };
        let sources: Vec<_> = function.arguments.iter().map(source).collect();
        let mut in_body =
            function.arguments.iter().zip(&sources).filter(|(_, source)| **source == ArgumentSource::Body);
        let whole_body = match (in_body.next(), in_body.next()) {
            (Some((argument, _)), None) => is_object(&lone_schema(argument)),
            _ => false,
        };
        Self { sources, whole_body }
    }

    /// Schema of the body; `None` when nothing is read from it.
    pub fn input_schema(&self, function: &Function, generator: &mut SchemaGenerator) -> Option<Value> {
        let mut in_body = function
            .arguments
            .iter()
            .zip(&self.sources)
            .filter(|(_, source)| **source == ArgumentSource::Body)
            .map(|(argument, _)| argument)
            .peekable();
        in_body.peek()?;
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

/// The `{name}`s of a path.
pub fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
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
    fn check(schema: &Value, root: &Value, depth: u32) -> bool {
        let Value::Object(members) = schema else { return schema == &Value::Bool(true) };
        if let Some(kind) = members.get("type") {
            return kind == "object";
        }
        if let Some(target) = members.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
            return depth < 16 && target.is_some_and(|target| check(target, root, depth + 1));
        }
        let mut choices =
            ["oneOf", "anyOf"].iter().filter_map(|key| members.get(*key)?.as_array()).flatten().peekable();
        if choices.peek().is_some() {
            return choices.all(|choice| check(choice, root, depth + 1));
        }
        // No constraint on the type: `serde_json::Value`.
        !members.contains_key("enum") && !members.contains_key("const")
    }
    check(root, root, 0)
}

/// A function's arguments as a tuple.
pub trait Args: Sized + Send + 'static {
    /// The JSON body for a call, leaving out what goes elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`], for a value that has no JSON form.
    fn encode(&self, function: &Function) -> Result<RawJson>;

    /// Path and query parameters for a call to a route.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`], for a value that has no JSON form.
    fn encode_text(&self, function: &Function) -> Result<Vec<(&'static str, String)>>;

    /// The arguments of a request.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`], naming every field that does not fit.
    fn decode(input: Input, function: &Function) -> Result<Self>;
}

/// The body's fields, or the body itself.
enum Fields<'a> {
    Whole(&'a str),
    Named(HashMap<Cow<'a, str>, &'a RawValue>),
}

/// What one decoding reads from.
struct Source<'a> {
    fields: Fields<'a>,
    text: &'a [(String, String)],
}

impl Source<'_> {
    fn take<T: Wire>(&self, argument: &Argument, source: ArgumentSource) -> Result<T, FieldError> {
        let at = |message: String| FieldError::new(format!("/{}", argument.name), message);
        match (source, &self.fields) {
            (ArgumentSource::Body, Fields::Whole(body)) => {
                serde_json::from_str(body).map_err(|error| refused_field::<T>(body, &error))
            }
            (ArgumentSource::Body, Fields::Named(fields)) => match fields.get(argument.name) {
                Some(raw) => serde_json::from_str(raw.get()).map_err(|error| at(fault_of_field(&error))),
                None => missing().ok_or_else(|| at("missing".to_owned())),
            },
            (ArgumentSource::Path | ArgumentSource::Query, _) => {
                match self.text.iter().find(|(name, _)| name == argument.name) {
                    Some((_, text)) => from_text(text).map_err(at),
                    None => missing().ok_or_else(|| at("missing".to_owned())),
                }
            }
        }
    }
}

/// Where inside a body serde gave up: read once more, with the way to the field remembered.
#[cold]
fn refused_field<T: DeserializeOwned>(body: &str, error: &serde_json::Error) -> FieldError {
    let again: Result<T, _> = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(body));
    let path = again.err().map(|refused| {
        let segments = refused.path().iter().map(|segment| format!("/{segment}"));
        segments.collect::<String>()
    });
    FieldError::new(path.unwrap_or_default(), fault_of_field(error))
}

/// The value of an argument that was left out: `None` for an `Option`, nothing for other types.
fn missing<T: DeserializeOwned>() -> Option<T> {
    struct Absent;
    impl<'de> serde::Deserializer<'de> for Absent {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("missing"))
        }

        fn deserialize_option<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            visitor.visit_none()
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
            unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
        }
    }
    T::deserialize(Absent).ok()
}

/// A path or query parameter: text first, else the JSON value that it spells.
fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(Value::String(text.to_owned()))
        .or_else(|refusal| serde_json::from_str(text).map_err(|_| fault_of_field(&refusal)))
}

fn to_text<T: Serialize>(value: &T) -> Result<Option<String>> {
    Ok(match serde_json::to_value(value).map_err(encode_error)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

fn encode_error(error: serde_json::Error) -> Error {
    Error::new(ErrorKind::Encode, format!("an argument has no JSON form: {error}"))
}

fn decode_with<T>(
    input: &Input,
    function: &Function,
    take: impl FnOnce(&Source<'_>, &[ArgumentSource]) -> Result<T, FieldError>,
) -> Result<T> {
    let binding = function.binding();
    let body = input.body.as_deref().map_or("", RawValue::get).trim();
    let body = if body.is_empty() { "{}" } else { body };
    let fields = if binding.whole_body {
        Ok(Fields::Whole(body))
    } else if body == "null" || !binding.sources.contains(&ArgumentSource::Body) {
        Ok(Fields::Named(HashMap::new()))
    } else {
        serde_json::from_str(body)
            .map(Fields::Named)
            .map_err(|error| FieldError::new("", not_an_object(&error)))
    };
    let taken = fields.and_then(|fields| take(&Source { fields, text: &input.text }, &binding.sources));
    taken.map_err(|refusal| explain(function, body, refusal))
}

fn not_an_object(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "a JSON object was expected".to_owned(),
        _ => format!("not valid JSON: {}", fault(error)),
    }
}

/// Every field that does not fit, by the schema; serde's own refusal where the schema finds none.
#[cold]
fn explain(function: &Function, body: &str, refusal: FieldError) -> Error {
    let mut generator = SchemaGenerator::default();
    let schema = function.binding().input_schema(function, &mut generator);
    let mut fields = Vec::new();
    if let (Some(Value::Object(mut schema)), Ok(value)) = (schema, serde_json::from_str::<Value>(body)) {
        schema.insert("$defs".to_owned(), Value::Object(generator.take_definitions(true)));
        fields = crate::schema::violations(&Value::Object(schema), &value);
    }
    if !fields.iter().any(|field| field.path == refusal.path || refusal.path.is_empty()) {
        fields.push(refusal);
    }
    Error::invalid_fields(fields)
}

macro_rules! args_for_tuples {
    ($(($($type:ident $index:tt),*))+) => {$(
        impl<$($type: Wire),*> Args for ($($type,)*) {
            fn encode(&self, function: &Function) -> Result<RawJson> {
                let binding = function.binding();
                let _ = binding;
                $(if binding.whole_body && binding.sources[$index] == ArgumentSource::Body {
                    return serde_json::value::to_raw_value(&self.$index).map_err(encode_error);
                })*
                let mut text = String::from("{");
                $(if binding.sources[$index] == ArgumentSource::Body {
                    push_field(&mut text, function.arguments[$index].name, &self.$index)?;
                })*
                text.push('}');
                RawValue::from_string(text).map_err(encode_error)
            }

            fn encode_text(&self, function: &Function) -> Result<Vec<(&'static str, String)>> {
                #[allow(unused_mut, reason = "a function without arguments has none to push")]
                let mut parameters = Vec::new();
                let _ = function;
                $(if function.binding().sources[$index] != ArgumentSource::Body
                    && let Some(text) = to_text(&self.$index)?
                {
                    parameters.push((function.arguments[$index].name, text));
                })*
                Ok(parameters)
            }

            fn decode(input: Input, function: &Function) -> Result<Self> {
                decode_with(&input, function, |source, sources| {
                    let _ = (source, sources);
                    Ok(($(source.take::<$type>(&function.arguments[$index], sources[$index])?,)*))
                })
            }
        }
    )+};
}

args_for_tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}

fn push_field<T: Serialize>(text: &mut String, name: &str, value: &T) -> Result<()> {
    if text.len() > 1 {
        text.push(',');
    }
    text.push('"');
    // An argument's name is a Rust identifier: nothing in it needs escaping.
    text.push_str(name);
    text.push_str("\":");
    text.push_str(&serde_json::to_string(value).map_err(encode_error)?);
    Ok(())
}

#[cfg(test)]
mod tests;
