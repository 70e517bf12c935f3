//! How a function's arguments are encoded as JSON and decoded.
//!
//! Jobs and routes follow the same rule. Path parameters of a route bind by name. The other arguments come from the
//! query for methods without a body, and from the JSON body otherwise. A single body argument whose type is a JSON
//! object (a struct, a map, any JSON) *is* the body; otherwise each argument is a field with its name.
//!
//! serde alone decides whether an input is valid. The schema is only used after an error, to list every wrong field.
mod text;

use std::{borrow::Cow, collections::HashMap};

use flash_protocol::{
    Error, ErrorKind, FieldError, Result, WireError,
    manifest::ArgumentSource,
    wire::{Payload, RawJson, fault, fault_of_field},
};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{
    bytes::Bytes,
    descriptor::{Argument, Binding, Function, Input, Outgoing, RequestArgument, Value as Encoded},
    json,
};

/// The traits that arguments and results need: `Serialize`, `DeserializeOwned`, `JsonSchema` and `Send`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument or a result of a `#[remote]` function",
    label = "must implement `Serialize`, `DeserializeOwned`, `JsonSchema`, `Send` and be `'static`",
    note = "derive the missing traits: `#[derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema)]`"
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
            is_bytes: Bytes::is::<T>,
            request: None,
        }
    }
}

/// A function's arguments as a tuple.
pub trait Args: Sized + Send + 'static {
    /// What `map` takes per call: the argument alone, or all of them as a tuple.
    type Item: Send + 'static;

    /// The arguments of a call.
    fn of(item: Self::Item) -> Self;

    /// The body of a call, without path and query arguments.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] for a value that cannot be written as JSON.
    fn encode(&self, function: &Function) -> Result<Encoded>;

    /// Like [`Args::encode`], as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] for a value that cannot be written as JSON.
    fn encode_json(&self, function: &Function) -> Result<RawJson>;

    /// Refuses values that could not be sent, for a call in this process.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] for a value that cannot be written as JSON.
    fn check(&self, function: &Function) -> Result<()>;

    /// Path and query parameters for a call to a route.
    ///
    /// # Errors
    /// [`ErrorKind::Encode`] for a value that cannot be written as JSON.
    fn encode_text(&self, function: &Function) -> Result<Vec<(&'static str, String)>>;

    /// What arguments that are parts of a request add to that of a call to a route.
    fn outgoing(&self, function: &Function) -> Outgoing;

    /// The arguments of a request.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] with every field that is missing or wrong, or with status 400 for a part of the
    /// request that is.
    fn decode(input: Input, function: &Function) -> Result<Self>;
}

/// The body's fields, or the body itself.
enum Fields<'a> {
    Whole(&'a str),
    Named(HashMap<Cow<'a, str>, &'a RawValue>),
}

/// What one decoding reads from.
struct Source<'a> {
    function: &'a Function,
    binding: &'a Binding,
    fields: Fields<'a>,
    input: &'a Input,
}

/// What is wrong with an input.
#[derive(Debug)]
enum Refusal {
    /// One field.
    Field(FieldError),
    /// A part of the request.
    Part(String),
}

impl Source<'_> {
    /// The argument at this index; an error is added to `refused`.
    fn take<T: Wire>(&self, index: usize, refused: &mut Vec<Refusal>) -> Option<T> {
        let taken = match self.function.arguments[index].request {
            Some(request) => self.part(request).map_err(Refusal::Part),
            None => self.value(index).map_err(Refusal::Field),
        };
        taken.map_err(|refusal| refused.push(refusal)).ok()
    }

    /// An argument that is a part of the request.
    fn part<T: Wire>(&self, request: RequestArgument) -> Result<T, String> {
        let part = (request.read)(self.input)?.downcast();
        part.map(|part| *part).map_err(|_| "not a part of a request".to_owned())
    }

    /// An argument that is data.
    fn value<T: Wire>(&self, index: usize) -> Result<T, FieldError> {
        let (argument, source) = (&self.function.arguments[index], self.binding.sources[index]);
        let takes = self.binding.takes[index];
        let at = |message: String| FieldError::new(format!("/{}", argument.name), message);
        match (source, &self.fields) {
            (ArgumentSource::Body, _) if self.binding.raw_body => {
                let raw = self.input.raw.clone().unwrap_or_default();
                raw.into_value().ok_or_else(|| at("expected bytes".to_owned()))
            }
            (ArgumentSource::Body, Fields::Whole(body)) => {
                serde_json::from_str(body).map_err(|error| refused_field::<T>(body, &error))
            }
            (ArgumentSource::Body, Fields::Named(fields)) => match fields.get(argument.name) {
                Some(raw) => serde_json::from_str(raw.get()).map_err(|error| at(fault_of_field(&error))),
                None => missing().ok_or_else(|| at("missing".to_owned())),
            },
            // The source of parts of the request alone.
            (ArgumentSource::Headers, _) => Err(at("not a part of a request".to_owned())),
            (ArgumentSource::Path | ArgumentSource::Query, _) => {
                let given = self.input.text.iter().filter(|(name, _)| name == argument.name);
                match given.map(|(_, text)| text.as_str()).collect::<Vec<_>>().as_slice() {
                    [] => missing().ok_or_else(|| at("missing".to_owned())),
                    texts => text::decode(texts, takes).map_err(at),
                }
            }
        }
    }
}

/// Finds where in a body serde failed, by decoding again with the path recorded.
#[cold]
fn refused_field<T: DeserializeOwned>(body: &str, error: &serde_json::Error) -> FieldError {
    let again: Result<T, _> = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(body));
    let path = again.err().map(|refused| {
        let segments = refused.path().iter().map(|segment| format!("/{segment}"));
        segments.collect::<String>()
    });
    FieldError::new(path.unwrap_or_default(), fault_of_field(error))
}

/// The value of a missing argument: `None` for an `Option`, nothing for other types.
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

/// A value in a path or a query: text unchanged, anything else as JSON. `null` is omitted.
fn to_text(value: &RawValue) -> Option<String> {
    match value.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text => Some(text.to_owned()),
    }
}

fn decode_with<T>(
    input: &Input,
    function: &Function,
    mut take: impl FnMut(&Source<'_>) -> Result<T, Vec<Refusal>>,
) -> Result<T> {
    let taken = match &input.body {
        Some(body) => body.read(|body| read(input, body.get(), function, &mut take)),
        None => read(input, "", function, &mut take),
    };
    taken.map_err(|refused| {
        let body = input.body.as_ref().map(Payload::to_json);
        explain(function, body_or_empty(body.as_deref().map_or("", RawValue::get)), refused)
    })
}

/// A body that is missing is an empty object.
fn body_or_empty(body: &str) -> &str {
    match body.trim() {
        "" => "{}",
        body => body,
    }
}

fn read<T>(
    input: &Input,
    body: &str,
    function: &Function,
    take: impl FnOnce(&Source<'_>) -> Result<T, Vec<Refusal>>,
) -> Result<T, Vec<Refusal>> {
    let binding = function.binding();
    let body = body_or_empty(body);
    let fields = if binding.whole_body {
        Ok(Fields::Whole(body))
    } else if body == "null" || !binding.sources.contains(&ArgumentSource::Body) {
        Ok(Fields::Named(HashMap::new()))
    } else {
        serde_json::from_str(body)
            .map(Fields::Named)
            .map_err(|error| vec![Refusal::Field(FieldError::new("", not_an_object(&error)))])
    };
    take(&Source { function, binding, fields: fields?, input })
}

fn not_an_object(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "expected a JSON object".to_owned(),
        _ => format!("not valid JSON: {}", fault(error)),
    }
}

/// The part of the request that is wrong, or every wrong field by the schema; if the schema finds none, serde's error.
#[cold]
fn explain(function: &Function, body: &str, refused: Vec<Refusal>) -> Error {
    let mut of_fields = Vec::new();
    for refusal in refused {
        match refusal {
            Refusal::Part(message) => return malformed(message),
            Refusal::Field(field) => of_fields.push(field),
        }
    }
    let mut generator = SchemaGenerator::default();
    let schema = function.binding().input_schema(function.arguments, &mut generator);
    let mut fields = Vec::new();
    if let (Some(Value::Object(mut schema)), Ok(value)) = (schema, serde_json::from_str::<Value>(body)) {
        schema.insert("$defs".to_owned(), Value::Object(generator.take_definitions(true)));
        fields = flash_protocol::schema::violations(&Value::Object(schema), &value, |_, _| true);
    }
    for refusal in of_fields {
        if !fields.iter().any(|field| field.path == refusal.path || refusal.path.is_empty()) {
            fields.push(refusal);
        }
    }
    Error::invalid_fields(fields)
}

/// The error for a request that is wrong in itself, as opposed to its data.
fn malformed(message: impl Into<String>) -> Error {
    let mut error = WireError::new(ErrorKind::InvalidInput, message);
    error.status = Some(400);
    error.into()
}

macro_rules! args_for_tuples {
    (@item ($alone:ident)) => {
        type Item = $alone;

        fn of(item: $alone) -> Self {
            (item,)
        }
    };
    (@item ($($type:ident),*)) => {
        type Item = Self;

        fn of(item: Self) -> Self {
            item
        }
    };
    ($(($($type:ident $index:tt),*))+) => {$(
        #[allow(non_snake_case, reason = "a decoded argument is named as its type")]
        impl<$($type: Wire),*> Args for ($($type,)*) {
            args_for_tuples!(@item ($($type),*));

            fn encode(&self, function: &Function) -> Result<Encoded> {
                let binding = function.binding();
                let _ = binding;
                $(if binding.raw_body && binding.sources[$index] == ArgumentSource::Body
                    && let Some(bytes) = Bytes::of(&self.$index)
                {
                    return Ok(Encoded::Raw(bytes.clone()));
                })*
                Payload::collect(|| self.encode_json(function)).map(Encoded::Json)
            }

            fn encode_json(&self, function: &Function) -> Result<RawJson> {
                let binding = function.binding();
                let _ = binding;
                $(if binding.whole_body && binding.sources[$index] == ArgumentSource::Body {
                    return encode_argument(&self.$index, &function.arguments[$index], binding);
                })*
                let mut text = String::from("{");
                $(if binding.sources[$index] == ArgumentSource::Body {
                    let argument = &function.arguments[$index];
                    push_field(&mut text, argument.name, &encode_argument(&self.$index, argument, binding)?);
                })*
                text.push('}');
                RawValue::from_string(text).map_err(|error| Error::new(ErrorKind::Encode, error.to_string()))
            }

            fn check(&self, function: &Function) -> Result<()> {
                let binding = function.binding();
                let _ = binding;
                $(if function.arguments[$index].request.is_none() {
                    check_argument(&self.$index, &function.arguments[$index], binding)?;
                })*
                Ok(())
            }

            fn outgoing(&self, function: &Function) -> Outgoing {
                #[allow(unused_mut, reason = "a function without arguments adds nothing")]
                let mut outgoing = Outgoing::default();
                let _ = function;
                $(if let Some(request) = function.arguments[$index].request {
                    (request.write)(&self.$index, &mut outgoing);
                })*
                outgoing
            }

            fn encode_text(&self, function: &Function) -> Result<Vec<(&'static str, String)>> {
                #[allow(unused_mut, reason = "a function without arguments has none to push")]
                let mut parameters = Vec::new();
                let binding = function.binding();
                let _ = binding;
                $(if matches!(binding.sources[$index], ArgumentSource::Path | ArgumentSource::Query) {
                    let argument = &function.arguments[$index];
                    let text = to_text(&encode_argument(&self.$index, argument, binding)?);
                    parameters.extend(text.map(|text| (argument.name, text)));
                })*
                Ok(parameters)
            }

            fn decode(input: Input, function: &Function) -> Result<Self> {
                decode_with(&input, function, |source| {
                    let mut refused = Vec::new();
                    let _ = (source, &mut refused);
                    match ($(source.take::<$type>($index, &mut refused),)*) {
                        ($(Some($type),)*) => Ok(($($type,)*)),
                        #[allow(unreachable_patterns, reason = "no argument, no refusal")]
                        _ => Err(refused),
                    }
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

fn encode_argument<T: Serialize>(value: &T, argument: &Argument, binding: &Binding) -> Result<RawJson> {
    json::encode(value, format_args!("argument `{}`", argument.name), binding.depth())
}

fn check_argument<T: Serialize>(value: &T, argument: &Argument, binding: &Binding) -> Result<()> {
    json::check(value, format_args!("argument `{}`", argument.name), binding.depth())
}

fn push_field(text: &mut String, name: &str, value: &RawValue) {
    if text.len() > 1 {
        text.push(',');
    }
    text.push('"');
    // An argument's name is a Rust identifier: nothing in it needs escaping.
    text.push_str(name);
    text.push_str("\":");
    text.push_str(value.get());
}

#[cfg(test)]
mod tests;
