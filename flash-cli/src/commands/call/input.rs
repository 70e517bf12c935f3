//! A function's input: where it comes from, and whether it fits.
use flash_platform::formats;
use flash_protocol::{
    FieldError,
    manifest::{ArgumentEntry, ArgumentSource, FunctionEntry, Manifest},
    schema,
    wire::base64,
};
use serde_json::{Value, json, value::RawValue};

use super::{files, find::name_of};
use crate::{
    commands::endpoint_table,
    exit::{Failure, FailureCode},
};

/// JSON as it was given, and its parsed value.
pub(super) struct Input {
    raw: Box<RawValue>,
    pub(super) value: Value,
}

/// An input as it was given, and where it came from.
pub(super) struct Given {
    data: Vec<u8>,
    from: String,
    kind: Kind,
}

/// How an input was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As JSON.
    Json,
    /// As `@FILE`: JSON, or what a byte string consists of.
    File,
}

impl Given {
    /// JSON, `@FILE` (`@-` for stdin), or `-` for JSON from stdin; without an argument, an empty object.
    ///
    /// # Errors
    /// When the input cannot be read.
    pub(super) fn read(text: Option<&str>) -> Result<Self, Failure> {
        let given = |data: Vec<u8>, from: &str, kind| Self { data, from: from.to_owned(), kind };
        match text {
            None => Ok(given(b"{}".to_vec(), "the input", Kind::Json)),
            Some("-") => Ok(given(files::read("-")?, "stdin", Kind::Json)),
            Some(text) => match text.strip_prefix('@') {
                None => Ok(given(text.as_bytes().to_vec(), "the input", Kind::Json)),
                Some("-") => Ok(given(files::read("-")?, "stdin", Kind::File)),
                Some(path) => Ok(given(files::read(path)?, path, Kind::File)),
            },
        }
    }

    /// Refuses what is wrong for every function.
    ///
    /// # Errors
    /// When it is not a file and not valid JSON.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match self.kind {
            Kind::Json => self.parse().map(drop),
            Kind::File => Ok(()),
        }
    }

    /// The input for this function; without one, for a program.
    ///
    /// # Errors
    /// When it is not valid JSON, or a file that it names cannot be read.
    pub(super) fn for_function(
        &self,
        manifest: &Manifest,
        function: Option<&FunctionEntry>,
    ) -> Result<Input, Failure> {
        let Some(function) = function else { return self.parse() };
        let lone = files::lone_argument(function).filter(|_| self.kind == Kind::File);
        if let Some(argument) = lone {
            return Input::new(json!({ &argument.name: base64::encode(&self.data) }));
        }
        let mut input = self.parse()?;
        match files::insert(manifest, function, &mut input.value)? {
            true => Input::new(input.value),
            false => Ok(input),
        }
    }

    /// The parsed value.
    ///
    /// # Errors
    /// When the text is not valid JSON.
    fn parse(&self) -> Result<Input, Failure> {
        let Self { data, from, .. } = self;
        let wrong = |error: serde_json::Error| {
            Failure::unusable(format!("{from} is not valid JSON: {error}"))
                .hint("quote an object for the shell: '{\"name\": \"value\"}'; to read a file: @FILE")
        };
        let raw: Box<RawValue> = serde_json::from_slice(data).map_err(wrong)?;
        let value = serde_json::from_str(raw.get()).map_err(wrong)?;
        Ok(Input { raw, value })
    }
}

impl Input {
    fn new(value: Value) -> Result<Self, Failure> {
        let raw = serde_json::value::to_raw_value(&value);
        let raw = raw.map_err(|error| Failure::of(FailureCode::Failed, &error))?;
        Ok(Self { raw, value })
    }

    /// The original text, so that numbers keep all their digits.
    pub(super) fn raw(&self) -> &RawValue {
        &self.raw
    }
}

/// Whether the input fits the function.
///
/// # Errors
/// Names every field that does not fit.
pub(super) fn check(manifest: &Manifest, function: &FunctionEntry, input: &Input) -> Result<(), Failure> {
    let fields = violations(manifest, function, &input.value);
    if fields.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = fields
        .iter()
        .map(|FieldError { path, message, .. }| match path.trim_start_matches('/') {
            "" => format!("\n  {message}"),
            field => format!("\n  `{field}`: {message}"),
        })
        .collect();
    Err(Failure::unusable(format!("the input does not fit `{}`:{}", name_of(function), lines.concat())))
}

/// How to call a function: its arguments, and an example call under the name that the user typed. `command` is all
/// before the name.
pub(super) fn usage(command: &str, name: &str, manifest: &Manifest, function: &FunctionEntry) -> String {
    let argument = |argument: &ArgumentEntry| match argument.required {
        true => argument.name.clone(),
        false => format!("[{}]", argument.name),
    };
    let arguments: Vec<String> = function.arguments.iter().map(argument).collect();
    let example = match files::lone_argument(function) {
        Some(_) => "@FILE".to_owned(),
        None => quoted(&endpoint_table::example(manifest, function).to_string()),
    };
    format!(
        "it takes {}({}), for example: {command} {} {}",
        function.call_name(),
        arguments.join(", "),
        quoted(name),
        example
    )
}

/// Quoted as one word for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_:/.-".contains(&byte);
    match word.bytes().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn violations(manifest: &Manifest, function: &FunctionEntry, input: &Value) -> Vec<FieldError> {
    let with_definitions = |schema: &Value| match schema {
        Value::Object(schema) => {
            let mut root = schema.clone();
            root.insert("$defs".to_owned(), Value::Object(manifest.definitions.clone()));
            Value::Object(root)
        }
        other => other.clone(),
    };
    let of_body = |body: &Value| match &function.input {
        Some(schema) => schema::violations(&with_definitions(schema), body, formats::fits),
        None => Vec::new(),
    };
    let is_outside = |argument: &&ArgumentEntry| argument.source != ArgumentSource::Body || function.raw_body;
    let outside: Vec<_> = function.arguments.iter().filter(is_outside).collect();
    if function.route.is_none() || outside.is_empty() {
        return of_body(input);
    }
    // Path and query arguments are listed with those of the body, by name.
    let properties: serde_json::Map<String, Value> =
        outside.iter().map(|argument| (argument.name.clone(), argument.schema.clone())).collect();
    let required: Vec<&str> =
        outside.iter().filter(|argument| argument.required).map(|argument| argument.name.as_str()).collect();
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    let mut found = schema::violations(&with_definitions(&schema), input, formats::fits);
    let names: Vec<&str> = outside.iter().map(|argument| argument.name.as_str()).collect();
    if let Some(body) = body_of(input, &names).filter(|_| !function.raw_body) {
        found.extend(of_body(&body));
    }
    found
}

/// The object without these members; `None` if it is not an object.
pub(super) fn body_of(input: &Value, without: &[&str]) -> Option<Value> {
    let members = input.as_object()?;
    let kept = members.iter().filter(|(name, _)| !without.contains(&name.as_str()));
    Some(Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect()))
}

#[cfg(test)]
mod tests {
    use flash_protocol::manifest::ArgumentEntry;

    use super::{
        super::find::tests::{function, manifest},
        *,
    };

    fn argument(name: &str, source: ArgumentSource, required: bool, schema: Value) -> ArgumentEntry {
        ArgumentEntry { name: name.to_owned(), source, required, schema }
    }

    fn read(text: Option<&str>) -> Result<Input, Failure> {
        Given::read(text)?.parse()
    }

    fn refused(manifest: &Manifest, input: &str) -> String {
        let input = read(Some(input)).unwrap();
        check(manifest, &manifest.functions[0], &input).unwrap_err().to_string()
    }

    #[test]
    fn every_wrong_field_is_named_before_anything_is_sent() {
        let mut greet = function("greet", None, "jobs", None);
        greet.arguments = vec![argument("greeting", ArgumentSource::Body, true, json!({}))];
        greet.input = Some(json!({ "$ref": "#/$defs/Greeting" }));
        let mut app = manifest(vec![greet]);
        app.definitions.insert(
            "Greeting".to_owned(),
            json!({
                "type": "object",
                "properties": { "name": { "type": "string" }, "times": { "type": "integer" } },
                "required": ["name", "times"],
            }),
        );
        let message = refused(&app, r#"{"times": "3"}"#);
        for part in ["does not fit `greet`", "`name`: missing", "`times`: expected integer, got string"] {
            assert!(message.contains(part), "{message}");
        }
        let fits = read(Some(r#"{"name": "you", "times": 1}"#)).unwrap();
        assert!(check(&app, &app.functions[0], &fits).is_ok());
        assert!(refused(&app, "[]").contains("expected object, got array"));
        let usage = usage("flash call production", "greet", &app, &app.functions[0]);
        let example = usage.rsplit_once("flash call production greet '").unwrap().1.trim_end_matches('\'');
        assert!(usage.starts_with("it takes greet(greeting), for example: "), "{usage}");
        assert!(check(&app, &app.functions[0], &read(Some(example)).unwrap()).is_ok(), "{usage}");
    }

    #[test]
    fn arguments_of_path_query_and_body_are_given_side_by_side() {
        let mut write = function("write", None, "web", Some(("PUT", "/items/{id}")));
        write.arguments = vec![
            argument("id", ArgumentSource::Path, true, json!({ "type": "integer" })),
            argument("dry", ArgumentSource::Query, false, json!({ "type": "boolean" })),
            argument("text", ArgumentSource::Body, true, json!({ "type": "string" })),
        ];
        write.input = Some(json!({
            "type": "object",
            "properties": { "text": { "type": "string" } },
            "required": ["text"],
            "additionalProperties": false,
        }));
        let app = manifest(vec![write]);
        let fits = read(Some(r#"{"id": 7, "dry": true, "text": "x"}"#)).unwrap();
        assert!(check(&app, &app.functions[0], &fits).is_ok());
        let usage = usage("flash call a", "PUT /items/{id}", &app, &app.functions[0]);
        let example = usage.rsplit_once("flash call a 'PUT /items/{id}' '").unwrap().1.trim_end_matches('\'');
        assert!(usage.starts_with("it takes write(id, [dry], text), "), "{usage}");
        assert!(check(&app, &app.functions[0], &read(Some(example)).unwrap()).is_ok(), "{usage}");
        let message = refused(&app, r#"{"dry": "yes"}"#);
        for part in ["`id`: missing", "`dry`: expected boolean, got string", "`text`: missing"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_file_is_the_bytes_of_a_function_that_takes_them_and_json_for_others() {
        let bytes = json!({ "type": "string", "contentEncoding": "base64" });
        let mut put = function("put", None, "web", Some(("PUT", "/files")));
        put.arguments = vec![argument("file", ArgumentSource::Body, true, bytes)];
        (put.raw_body, put.input) = (true, Some(json!({ "type": "string", "format": "binary" })));
        let app = manifest(vec![put, function("other", None, "jobs", None)]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xff{}").unwrap();
        let given = Given::read(Some(&format!("@{}", file.path().display()))).unwrap();
        given.check().unwrap();
        let input = given.for_function(&app, Some(&app.functions[0])).unwrap();
        assert_eq!(input.value, json!({ "file": "/3t9" }));
        check(&app, &app.functions[0], &input).unwrap();
        assert!(refused(&app, r#"{"file": "not base64"}"#).contains("`file`: expected base64"));
        assert!(refused(&app, "{}").contains("`file`: missing"));
        let Err(error) = given.for_function(&app, Some(&app.functions[1])) else { panic!("it is no JSON") };
        assert!(error.to_string().contains("is not valid JSON"), "{error}");
        let usage = usage("flash call a", "put", &app, &app.functions[0]);
        assert!(usage.ends_with("for example: flash call a put @FILE"), "{usage}");
    }

    #[test]
    fn an_input_comes_from_words_and_files_and_keeps_its_digits() {
        assert_eq!(read(None).unwrap().value, json!({}));
        let long = "123456789012345678901234567890";
        assert_eq!(read(Some(long)).unwrap().raw().get(), long);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"a\": 1}\n").unwrap();
        let from_file = read(Some(&format!("@{}", file.path().display()))).unwrap();
        assert_eq!(from_file.value, json!({ "a": 1 }));
        for (wrong, part) in
            [("{a: 1}", "the input is not valid JSON"), ("@/no/such/file", "cannot read /no/such/file")]
        {
            let Err(error) = read(Some(wrong)) else { panic!("{wrong}") };
            assert!(error.to_string().contains(part), "{error}");
        }
    }
}
