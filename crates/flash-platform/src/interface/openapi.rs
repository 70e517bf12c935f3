//! The app's API as OpenAPI 3.1: routes, `run_sync` of every queue function, with schemas and doc comments, and the
//! queue API.
use flash_protocol::manifest::{
    ArgumentEntry, ArgumentSource, FORM, FunctionEntry, HttpEntry, Manifest, OPENAI_PREFIX,
};
use serde_json::{Map, Value, json};

use super::{
    parts::{failures, json_content},
    queue_operations,
};
use crate::sample::sample;

/// Renders the description of a release, on a platform that requires a key or does not.
pub(crate) fn render(manifest: &Manifest, release: u64, requires_key: bool) -> String {
    document(manifest, release, requires_key).to_string()
}

fn document(manifest: &Manifest, release: u64, requires_key: bool) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut add = |path: String, method: &str, operation: Value| {
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(methods) = entry {
            methods.entry(method.to_lowercase()).or_insert(operation);
        }
    };
    let (definitions, mut modules) = (&manifest.definitions, Vec::new());
    for function in &manifest.functions {
        match &function.route {
            Some(route) => add(route.path.clone(), &route.method, route_operation(function, definitions)),
            None => {
                let first = !modules.contains(&&function.module);
                modules.push(&function.module);
                let path = match first {
                    true => format!("/{}/run_sync", function.module),
                    false => format!("/{}/{}/run_sync", function.module, function.name),
                };
                add(path, "POST", job_operation(function, definitions));
            }
        }
    }
    for operation in queue_operations::operations(manifest) {
        add(operation.path, operation.method, operation.description);
    }
    let models: Vec<&str> = manifest.models().map(|(name, _)| name).collect();
    if !models.is_empty() {
        add(format!("{OPENAI_PREFIX}/{{path}}"), "GET", models_operation(&models));
    }
    for (worker, http) in manifest.routers().filter(|(_, http)| http.models.is_empty()) {
        let path =
            http.prefix.as_ref().map_or_else(|| "/{path}".to_owned(), |prefix| format!("{prefix}/{{path}}"));
        add(path, "GET", router_operation(&worker.name, http));
    }
    let mut schemas = manifest.definitions.clone();
    schemas.insert("FlashError".to_owned(), error_schema());
    for (name, schema) in queue_operations::schemas() {
        schemas.insert(name.to_owned(), schema);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": manifest.app.name,
            "version": manifest.app.version,
            "description": format!("Release {release}."),
        },
        "paths": paths,
        "components": { "schemas": schemas },
    });
    if requires_key {
        document["security"] = json!([{ "key": [] }]);
        document["components"]["securitySchemes"] = json!({ "key": { "type": "http", "scheme": "bearer" } });
    }
    point_to_components(&mut document);
    bound_numbers(&mut document);
    document
}

/// Rust knows what the format of a number means; a client that only knows JSON Schema reads the bounds.
fn bound_numbers(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(bound_numbers);
            let Some((least, most)) = bounds(members) else { return };
            for (bound, key) in [(least, "minimum"), (most, "maximum")] {
                if let Some(bound) = bound {
                    members.entry(key).or_insert(bound);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(bound_numbers),
        _ => {}
    }
}

/// The greatest `f32` as Rust writes it in JSON: a little more than it is.
const GREATEST_FLOAT: f64 = 3.402_823_5e38;

/// The bounds of a number of this schema; `None` in place of one that has no number in JSON, as have some of 128 bits.
fn bounds(schema: &Map<String, Value>) -> Option<(Option<Value>, Option<Value>)> {
    let format = schema.get("format")?.as_str()?;
    let is = |name: &str| match schema.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == name),
        kind => kind.is_some_and(|kind| kind == name),
    };
    if is("number") && format == "float" {
        return Some((Some((-GREATEST_FLOAT).into()), Some(GREATEST_FLOAT.into())));
    }
    let (least, most) = flash_protocol::schema::integer_range(format).filter(|_| is("integer"))?;
    Some((i64::try_from(least).ok().map(Value::from), u64::try_from(most).ok().map(Value::from)))
}

/// Schemas refer to `#/$defs/NAME`; in this document they stand under `components`.
fn point_to_components(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                if let ("$ref", Value::String(target)) = (key.as_str(), &mut *member) {
                    *target = target.replace("#/$defs/", "#/components/schemas/");
                }
                point_to_components(member);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(point_to_components),
        _ => {}
    }
}

/// The first paragraph of the doc comment on one line, and the whole comment.
fn texts(function: &FunctionEntry) -> (String, &str) {
    let first = function.docs.split("\n\n").next().unwrap_or_default();
    let summary = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    (if summary.is_empty() { function.call_name() } else { summary }, function.docs.as_str())
}

fn operation_id(function: &FunctionEntry) -> String {
    format!("{}_{}", function.module.replace('/', "_"), function.call_name().replace("::", "_"))
}

/// Raw bytes of this content type, which a page shows as a file.
fn raw_content(content_type: Option<&str>) -> Value {
    let content_type = content_type.unwrap_or("application/octet-stream");
    json!({ content_type: { "schema": { "type": "string", "format": "binary" } } })
}

/// What a function may answer beside its result.
const FAILURES: [(&str, &str); 6] = [
    ("400", "the body is not valid JSON, or a header or form is wrong"),
    ("413", "the body is over the limit"),
    ("422", "fields are missing or wrong; each is named"),
    ("500", "the function failed; stage, message and request id are given"),
    ("503", "no worker could start"),
    ("504", "no result in time"),
];

fn responses(description: &str, content: Value) -> Value {
    let mut responses = failures(&FAILURES);
    responses.insert("200".to_owned(), json!({ "description": description, "content": content }));
    Value::Object(responses)
}

/// The content type of a body that may have any.
const ANY: &str = "*/*";

/// The body, with an example: a page that makes one up from the schema alone takes the bounds of numbers for it.
fn request_body(function: &FunctionEntry, definitions: &Map<String, Value>) -> Option<Value> {
    let schema = function.input.as_ref()?;
    if function.raw_body {
        let content = match function.takes_form() {
            true => json!({ FORM: { "schema": schema } }),
            false => raw_content(function.body_type.as_deref()),
        };
        // A whole request may have no body.
        return Some(json!({ "required": function.body_type.as_deref() != Some(ANY), "content": content }));
    }
    let mut content = json_content(schema);
    let chosen = function.settings.example.clone();
    if let Some(example) = chosen.or_else(|| sample(schema, definitions)) {
        content["application/json"]["example"] = example;
    }
    Some(json!({ "required": true, "content": content }))
}

fn parameter(argument: &ArgumentEntry, definitions: &Map<String, Value>) -> Option<Value> {
    let place = match argument.source {
        ArgumentSource::Path => "path",
        ArgumentSource::Query => "query",
        ArgumentSource::Body | ArgumentSource::Headers => return None,
    };
    let mut parameter = json!({
        "name": argument.name, "in": place, "required": argument.required, "schema": argument.schema,
    });
    if let Some(example) = sample(&argument.schema, definitions).filter(|_| argument.required) {
        parameter["example"] = example;
    }
    Some(parameter)
}

fn route_operation(function: &FunctionEntry, definitions: &Map<String, Value>) -> Value {
    let (summary, description) = texts(function);
    let mut parameters: Vec<Value> =
        function.arguments.iter().filter_map(|argument| parameter(argument, definitions)).collect();
    parameters.extend(function.headers.iter().map(|header| {
        json!({ "name": header.name, "in": "header", "required": header.required, "schema": { "type": "string" } })
    }));
    let content = match function.streams {
        true => json!({ "text/event-stream": { "schema": function.output } }),
        false if function.raw_output => raw_content(function.output_type.as_deref()),
        false => json_content(&function.output),
    };
    let mut operation = json!({
        "operationId": operation_id(function),
        "summary": summary,
        "description": description,
        "tags": [function.worker],
        "parameters": parameters,
        "responses": responses("the function's result", content),
    });
    if let (Some(body), Value::Object(members)) = (request_body(function, definitions), &mut operation) {
        members.insert("requestBody".to_owned(), body);
    }
    operation
}

/// OpenAI's API, which its clients know.
fn models_operation(models: &[&str]) -> Value {
    let path = json!({
        "name": "path", "in": "path", "required": true, "schema": { "type": "string" },
        "description": "`models`, or with POST `chat/completions`, `completions` or `embeddings`",
    });
    json!({
        "operationId": "openai",
        "summary": "OpenAI's API",
        "description": format!(
            "For clients of OpenAI, with `{OPENAI_PREFIX}` as the path of their base URL. Models: {}.",
            models.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        ),
        "tags": ["openai"],
        "parameters": [path],
        "responses": { "default": { "description": "the answer of OpenAI's API" } },
    })
}

/// All paths of a router. Which ones there are, only the router knows.
fn router_operation(worker: &str, http: &HttpEntry) -> Value {
    let path = json!({
        "name": "path", "in": "path", "required": true, "schema": { "type": "string" },
        "description": "any path of the router, with any method",
    });
    let all = match &http.prefix {
        Some(prefix) => format!("The router of `{worker}` answers `{prefix}` and everything below it."),
        None => format!("The router of `{worker}` answers everything that nothing else takes."),
    };
    let description = format!("{}\n\n{all} Its paths and methods are not listed.", http.docs);
    json!({
        "operationId": format!("router_{worker}"),
        "summary": format!("Router `{}`", http.function),
        "description": description.trim(),
        "tags": [worker],
        "parameters": [path],
        "responses": { "default": { "description": "the router's own answer" } },
    })
}

fn job_schema(output: Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "status": { "const": "COMPLETED" },
            "output": output,
            "delayTime": { "type": "integer", "description": "milliseconds in the queue" },
            "executionTime": { "type": "integer", "description": "milliseconds of execution" },
            "workerId": { "type": "string" },
            "costNanoDollars": { "type": "integer", "description": "cost of all attempts in billionths of a dollar" },
        },
        "required": ["id", "status", "output", "delayTime", "executionTime", "workerId"],
    })
}

fn job_operation(function: &FunctionEntry, definitions: &Map<String, Value>) -> Value {
    let (summary, description) = texts(function);
    let output = match function.streams {
        true => json!({ "type": "array", "items": function.output }),
        false => function.output.clone(),
    };
    let job = job_schema(output);
    let mut operation = json!({
        "operationId": operation_id(function),
        "summary": summary,
        "description": description,
        "tags": [function.worker],
        "responses": responses("the job with the function's result", json_content(&job)),
    });
    if let (Some(body), Value::Object(members)) = (request_body(function, definitions), &mut operation) {
        members.insert("requestBody".to_owned(), body);
    }
    operation
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "error": { "type": "string", "description": "the message with its causes" },
            "kind": { "type": "string", "description": "what went wrong, as a code for programs" },
            "stage": { "type": "string", "description": "worker type and function that failed" },
            "worker_id": { "type": "string" },
            "request_id": { "type": "string", "description": "search the logs for it" },
            "fields": {
                "type": "array",
                "description": "the fields that are missing or wrong",
                "items": {
                    "type": "object",
                    "properties": { "path": { "type": "string" }, "message": { "type": "string" } },
                    "required": ["path", "message"],
                },
            },
        },
        "required": ["error", "kind"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_a_whole_request_and_typed_headers_are_described_as_what_they_are() {
        let function: FunctionEntry = serde_json::from_value(json!({
            "name": "add", "module": "main", "worker": "web", "file": "src/main.rs", "line": 1,
            "route": { "method": "POST", "path": "/photos" }, "arguments": [], "input": { "type": "object" },
            "raw_body": true, "body_type": "multipart/form-data", "output": { "type": "string" }, "raw_output": true,
            "output_type": "*/*", "headers": [{ "name": "user-agent", "required": true }],
        }))
        .unwrap();
        let described = route_operation(&function, &Map::new());
        let body = json!({ "required": true, "content": { "multipart/form-data": { "schema": { "type": "object" } } } });
        assert_eq!(described["requestBody"], body);
        let binary = json!({ "*/*": { "schema": { "type": "string", "format": "binary" } } });
        assert_eq!(described["responses"]["200"]["content"], binary);
        let header = json!({
            "name": "user-agent", "in": "header", "required": true, "schema": { "type": "string" },
        });
        assert_eq!(described["parameters"], json!([header]));

        let whole = FunctionEntry {
            body_type: Some("*/*".to_owned()),
            input: Some(json!({ "type": "string", "format": "binary" })),
            ..function
        };
        let described = route_operation(&whole, &Map::new());
        assert_eq!(described["requestBody"], json!({ "required": false, "content": binary }));
    }

    #[test]
    fn numbers_have_the_bounds_of_their_format() {
        let mut schema = json!({
            "properties": {
                "format": { "type": "integer", "format": "int8", "minimum": 1 },
                "type": { "type": ["integer", "null"], "format": "uint64" },
                "wide": { "type": "integer", "format": "uint128", "minimum": 0 },
                "text": { "type": "string", "format": "uuid" },
                "plain": { "type": "integer" },
                "double": { "type": "number", "format": "double" },
            },
        });
        bound_numbers(&mut schema);
        assert_eq!(
            schema["properties"],
            json!({
                "format": { "type": "integer", "format": "int8", "minimum": 1, "maximum": 127 },
                "type": { "type": ["integer", "null"], "format": "uint64", "minimum": 0, "maximum": u64::MAX },
                "wide": { "type": "integer", "format": "uint128", "minimum": 0 },
                "text": { "type": "string", "format": "uuid" },
                "plain": { "type": "integer" },
                "double": { "type": "number", "format": "double" },
            })
        );
    }
}
