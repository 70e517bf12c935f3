//! The provider's OpenAPI document as a judge of requests and answers.
use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use jsonschema::{Draft, Validator, error::ValidationErrorKind};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../../../data/runpod-rest-v2.openapi.json");

/// The document, with the schemas that were needed so far.
pub struct Contract {
    document: Value,
    /// By their own text: the same schema is compiled once.
    validators: Mutex<HashMap<String, Validator>>,
}

/// What the document says of a method and a path.
pub struct Operation<'a> {
    /// The path with its placeholders, such as `/v2/serverless/{id}`.
    pub template: &'a str,
    pub id: &'a str,
    description: &'a Value,
    /// Of the whole path.
    shared: Option<&'a Value>,
    /// What stands at the placeholders.
    pub placeholders: Vec<String>,
}

impl Contract {
    pub fn read() -> Self {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        Self { document, validators: Mutex::default() }
    }

    /// Methods of this path, or nothing: the path is none of the document's.
    pub fn methods(&self, path: &str) -> Option<Vec<String>> {
        let (_, item, _) = self.path(path)?;
        let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
        Some(methods.map(|method| method.to_uppercase()).collect())
    }

    pub fn operation(&self, method: &str, path: &str) -> Option<Operation<'_>> {
        let (template, item, placeholders) = self.path(path)?;
        let description = item.get(method.to_lowercase())?;
        let id = description["operationId"].as_str().unwrap();
        Some(Operation { template, id, description, shared: item.get("parameters"), placeholders })
    }

    fn path(&self, path: &str) -> Option<(&str, &Value, Vec<String>)> {
        let segments: Vec<&str> = path.split('/').collect();
        let mut found = None;
        for (template, item) in self.document["paths"].as_object().unwrap() {
            let parts: Vec<&str> = template.split('/').collect();
            if parts.len() != segments.len() {
                continue;
            }
            let mut placeholders = Vec::new();
            let fits = parts.iter().zip(&segments).all(|(part, segment)| match part.starts_with('{') {
                true => {
                    placeholders.push((*segment).to_owned());
                    !segment.is_empty()
                }
                false => part == segment,
            });
            // A path without placeholders is nearer than one with them.
            if fits
                && found
                    .as_ref()
                    .is_none_or(|(_, _, other): &(_, _, Vec<String>)| placeholders.len() < other.len())
            {
                found = Some((template.as_str(), item, placeholders));
            }
        }
        found
    }

    /// What is wrong with the query of a request.
    pub fn query_errors(&self, operation: &Operation<'_>, query: &[(String, String)]) -> Vec<String> {
        let own = operation.description.get("parameters").and_then(Value::as_array);
        let shared = operation.shared.and_then(Value::as_array);
        let parameters: Vec<&Value> = own
            .into_iter()
            .chain(shared)
            .flatten()
            .map(|parameter| self.resolved(parameter))
            .filter(|parameter| parameter["in"] == "query")
            .collect();
        let mut given: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in query {
            given.entry(name).or_default().push(value);
        }
        let mut errors = Vec::new();
        for (name, values) in &given {
            let Some(parameter) = parameters.iter().find(|parameter| parameter["name"] == **name) else {
                errors.push(format!("query: there is no parameter '{name}'"));
                continue;
            };
            let schema = self.resolved(&parameter["schema"]);
            let value = parsed(schema, values);
            errors.extend(
                self.schema_errors(schema, &value).into_iter().map(|error| format!("query {name}: {error}")),
            );
        }
        let missing = parameters.iter().filter(|parameter| parameter["required"] == true);
        errors.extend(
            missing
                .filter_map(|parameter| parameter["name"].as_str())
                .filter(|name| !given.contains_key(name))
                .map(|name| format!("query: the parameter '{name}' is missing")),
        );
        errors
    }

    /// What is wrong with the body of a request.
    pub fn body_errors(
        &self,
        operation: &Operation<'_>,
        content_type: Option<&str>,
        body: Option<&Value>,
    ) -> Vec<String> {
        let Some(described) = operation.description.get("requestBody").map(|body| self.resolved(body)) else {
            return if body.is_some() { vec!["$: this request has no body".to_owned()] } else { Vec::new() };
        };
        let Some(body) = body else { return vec!["$: the body is missing, or no JSON".to_owned()] };
        let content_type = content_type.unwrap_or_default();
        let media = content_type.split(';').next().unwrap_or_default().trim();
        match described["content"].get(media) {
            Some(content) => self.schema_errors(&content["schema"], body),
            None => vec![format!("$: the content type '{content_type}' is not accepted")],
        }
    }

    /// What is wrong with an answer. `body` is missing where there is none, or where it is a stream.
    pub fn answer_errors(
        &self,
        operation: &Operation<'_>,
        status: u16,
        content_type: Option<&str>,
        body: Option<&Value>,
    ) -> Vec<String> {
        let responses = &operation.description["responses"];
        let described = responses.get(status.to_string());
        // Only errors are without a status of their own.
        let described = described.or_else(|| responses.get("default").filter(|_| status >= 400));
        let Some(described) = described.map(|described| self.resolved(described)) else {
            return vec![format!("the status {status} is not declared")];
        };
        let content = described.get("content").and_then(Value::as_object).cloned().unwrap_or_default();
        let media = content_type.map(|whole| whole.split(';').next().unwrap_or_default().trim());
        match (content.is_empty(), media) {
            (true, None) => Vec::new(),
            (true, Some(media)) => vec![format!("{status} has no content, and this is '{media}'")],
            (false, None) => vec![format!("{status} has content, and this is empty")],
            (false, Some(media)) => match (content.get(media), body) {
                (None, _) => vec![format!("{status} is never '{media}'")],
                (Some(_), None) if media == "text/event-stream" => Vec::new(),
                (Some(_), None) => vec![format!("the body of {status} is missing, or no JSON")],
                (Some(content), Some(body)) => self.schema_errors(&content["schema"], body),
            },
        }
    }

    /// What is wrong with a value that the document's schema of this name describes.
    pub fn errors_of(&self, schema: &str, value: &Value) -> Vec<String> {
        let schema = &self.document["components"]["schemas"][schema];
        assert!(schema.is_object(), "the document has no such schema");
        self.schema_errors(schema, value)
    }

    fn schema_errors(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut validators = self.validators.lock().unwrap();
        let validator = validators.entry(schema.to_string()).or_insert_with(|| self.compiled(schema));
        let mut errors: Vec<String> = validator.iter_errors(value).flat_map(|error| told(&error)).collect();
        errors.sort();
        errors.dedup();
        errors
    }

    /// References are resolved in the document's components, which are beside the schema.
    fn compiled(&self, schema: &Value) -> Validator {
        let whole = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "allOf": [schema],
            "components": self.document["components"],
        });
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .should_validate_formats(true)
            // The document's own examples have `{job_id}` in them, which no URI has.
            .with_format("uri", |_: &str| true)
            .build(&whole)
            .unwrap_or_else(|error| panic!("{error}: {schema}"))
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value.get("$ref").and_then(Value::as_str) {
            Some(reference) => {
                let pointer = reference.strip_prefix('#').unwrap();
                self.resolved(
                    self.document.pointer(pointer).unwrap_or_else(|| panic!("{reference} is not there")),
                )
            }
            None => value,
        }
    }
}

/// An error in the words of production.
fn told(error: &jsonschema::ValidationError<'_>) -> Vec<String> {
    let at: String = error.instance_path().as_str().replace('/', ".");
    let unexpected = |names: &[String]| {
        names.iter().map(|name| format!("${at}: additional properties '{name}' not allowed")).collect()
    };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected: names } => unexpected(names),
        ValidationErrorKind::UnevaluatedProperties { unexpected: names } => unexpected(names),
        ValidationErrorKind::Required { property } => {
            vec![format!("${at}: missing property '{}'", property.as_str().unwrap_or_default())]
        }
        _ => vec![format!("${at}: {error}")],
    }
}

/// The value of a parameter, which is text on its way.
fn parsed(schema: &Value, values: &[&str]) -> Value {
    let one = |text: &str, kind: Option<&str>| match kind {
        Some("integer" | "number" | "boolean") => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        _ => json!(text),
    };
    match schema["type"].as_str() {
        Some("array") => {
            let items = values.iter().flat_map(|value| value.split(','));
            items.map(|item| one(item, schema["items"]["type"].as_str())).collect()
        }
        kind => one(values.last().copied().unwrap_or_default(), kind),
    }
}
