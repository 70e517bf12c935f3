//! The queue API in the API description: the operations of each worker type that takes jobs.
//!
//! `gateway/queue_api.rs` has the same operations as handlers; a test there compares the two.
use flash_protocol::{
    manifest::{EndpointKind, FunctionEntry, Manifest, WorkerType},
    wire::{envelope, job::Policy},
};
use serde_json::{Map, Value, json};

use super::parts::{failures, json_content};
use crate::sample::sample;

/// A job's ID: a UUID, after `sync-` if it was submitted by `runsync`.
const JOB_ID: &str = "^(sync-)?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

/// One path.
pub(super) struct Operation {
    pub path: String,
    pub method: &'static str,
    /// As OpenAPI writes it.
    pub description: Value,
}

/// What each operation that reads or changes may answer beside its result.
const REFUSED: [(&str, &str); 4] = [
    ("400", "a parameter is wrong, or this does not fit the state of the job"),
    ("401", "the key is missing or wrong"),
    ("404", "there is no such endpoint or job"),
    ("503", "no release is live, or the change cannot be stored now"),
];
/// What those that take a job in may answer besides.
const NOT_TAKEN: [(&str, &str); 5] = [
    ("409", "the idempotency key belongs to another job"),
    ("413", "the body is over the limit"),
    ("415", "the body is compressed"),
    ("422", "fields are missing or wrong; each is named"),
    ("429", "the queue is full, or holds as much memory as it may"),
];

/// The operations of all worker types with a queue.
pub(super) fn operations(manifest: &Manifest) -> Vec<Operation> {
    let queues = manifest.workers.iter().filter(|worker| worker.kind == EndpointKind::Queue);
    queues.flat_map(|worker| of_worker_type(manifest, worker)).collect()
}

/// Schemas that the operations refer to.
pub(super) fn schemas() -> [(&'static str, Value); 1] {
    [("FlashJob", job_schema())]
}

fn of_worker_type(manifest: &Manifest, worker: &WorkerType) -> Vec<Operation> {
    let name = &worker.name;
    let body = body(manifest, worker);
    let operation = |path: &str, method: &'static str, own: Described| Operation {
        path: format!("/v2/{name}/{path}"),
        method,
        description: own.finish(path, name),
    };
    let job = || json!({ "$ref": "#/components/schemas/FlashJob" });
    let taken = summary_schema("IN_QUEUE");
    let jobs = |key: &str| object(&[(key, json!({ "type": "array", "items": job() }))]);
    vec![
        operation("run", "POST", Described::new("Submits a job", taken).taking(&body).with(key_header())),
        operation(
            "runsync",
            "POST",
            Described::new("Runs a job and waits", job()).taking(&body).with(wait()),
        ),
        operation("status/{job}", "GET", Described::new("A job", job())),
        operation("status-sync/{job}", "GET", Described::new("A job once it has ended", job()).with(wait())),
        operation("stream/{job}", "GET", stream()),
        operation("cancel/{job}", "POST", Described::new("Cancels a job", job())),
        operation(
            "retry/{job}",
            "POST",
            Described::new("Queues a failed job again", summary_schema("IN_QUEUE")),
        ),
        operation("purge-queue", "POST", Described::new("Removes all waiting jobs", purged())),
        operation("health", "GET", Described::new("Jobs and workers in numbers", health())),
        operation("metrics", "GET", Described::new("The same, with ready workers and memory", metrics())),
        operation(
            "requests",
            "GET",
            Described::new("Jobs, the latest first", page(&job())).with_all(filters()),
        ),
        operation("dead", "GET", Described::new("Jobs that killed their workers", jobs("dead"))),
        operation("dead/requeue", "POST", Described::new("Queues all dead jobs again", requeued())),
        operation(
            "dead/{job}/requeue",
            "POST",
            Described::new("Queues a dead job again", summary_schema("IN_QUEUE")),
        ),
    ]
}

/// An operation before its path and its worker type are known.
struct Described {
    summary: &'static str,
    /// Of the answer 200, by content type.
    content: Value,
    body: Option<Value>,
    parameters: Vec<Value>,
}

impl Described {
    /// One that answers with JSON of this schema.
    fn new(summary: &'static str, answer: Value) -> Self {
        Self { summary, content: json_content(&answer), body: None, parameters: Vec::new() }
    }

    fn taking(self, body: &Value) -> Self {
        Self { body: Some(body.clone()), ..self }
    }

    fn with(self, parameter: Value) -> Self {
        self.with_all(vec![parameter])
    }

    fn with_all(mut self, mut parameters: Vec<Value>) -> Self {
        self.parameters.append(&mut parameters);
        self
    }

    fn finish(mut self, path: &str, worker: &str) -> Value {
        if path.contains("{job}") {
            let schema = json!({ "type": "string", "pattern": JOB_ID });
            self.parameters
                .insert(0, json!({ "name": "job", "in": "path", "required": true, "schema": schema }));
        }
        let mut responses = failures(&REFUSED);
        if self.body.is_some() {
            responses.append(&mut failures(&NOT_TAKEN));
        }
        responses.insert("200".to_owned(), json!({ "description": "the answer", "content": self.content }));
        let name = path.replace("/{job}", "").replace(['/', '-'], "_");
        // `dead/requeue` and `dead/{job}/requeue` are two.
        let name = if path == "dead/requeue" { "dead_requeue_all".to_owned() } else { name };
        let mut operation = json!({
            "operationId": format!("{name}_{worker}"),
            "summary": self.summary,
            "tags": [worker],
            "parameters": self.parameters,
            "responses": responses,
        });
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

/// Any chunks since the last answer, or all of them as events.
fn stream() -> Described {
    let chunk = object(&[("output", json!({}))]);
    let chunks = object(&[("status", status()), ("stream", json!({ "type": "array", "items": chunk }))]);
    let mut stream = Described::new("The chunks of a job that were not fetched before", chunks).with(wait());
    stream.content["text/event-stream"] = json!({ "schema": { "type": "string" } });
    stream
}

fn object(required: &[(&str, Value)]) -> Value {
    let properties: Map<String, Value> =
        required.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    let names: Vec<&str> = required.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": names })
}

fn counts(names: &[&str]) -> Value {
    let counts: Vec<_> = names.iter().map(|name| (*name, json!({ "type": "integer" }))).collect();
    object(&counts)
}

fn status() -> Value {
    json!({ "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"] })
}

/// A job's ID and its status: most often this one.
fn summary_schema(most_often: &str) -> Value {
    let mut status = status();
    status["description"] = json!(format!("`{most_often}`, unless the job has moved on meanwhile"));
    object(&[("id", json!({ "type": "string" })), ("status", status)])
}

fn job_schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "status": status(),
            "output": { "description": "the result, or the latest progress" },
            "error": { "type": "string", "description": "why it failed" },
            "delayTime": { "type": "integer", "description": "milliseconds in the queue" },
            "executionTime": { "type": "integer", "description": "milliseconds of execution" },
            "workerId": { "type": "string", "description": "the worker of the latest attempt" },
            "retries": { "type": "integer", "description": "attempts beyond the first" },
            "nextAttempt": {
                "type": "object",
                "description": "while it waits to run again after an attempt that failed",
                "properties": {
                    "attempt": { "type": "integer" },
                    "waitMs": { "type": "integer" },
                    "lastError": { "type": "string" },
                },
            },
            "costNanoDollars": { "type": "integer", "description": "cost of all attempts in billionths of a dollar" },
        },
        "required": ["id", "status"],
    })
}

fn purged() -> Value {
    object(&[("removed", json!({ "type": "integer" })), ("status", json!({ "const": "completed" }))])
}

fn requeued() -> Value {
    counts(&["requeued"])
}

fn health() -> Value {
    object(&[
        ("jobs", counts(&["completed", "failed", "inProgress", "inQueue", "retried"])),
        ("workers", counts(&["idle", "initializing", "ready", "running", "throttled", "unhealthy"])),
    ])
}

fn metrics() -> Value {
    let mut metrics = health();
    metrics["properties"]["readyWorkers"] = json!({ "type": "array", "items": { "type": "string" } });
    metrics["properties"]["memory"] = counts(&["heldBytes", "limitBytes"]);
    metrics
}

fn page(job: &Value) -> Value {
    let next =
        json!({ "type": ["string", "null"], "description": "`before` of the next page; null at the end" });
    object(&[("requests", json!({ "type": "array", "items": job })), ("next", next)])
}

fn query(name: &str, description: &str, schema: Value) -> Value {
    json!({ "name": name, "in": "query", "required": false, "description": description, "schema": schema })
}

fn wait() -> Value {
    let schema = json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
    query("wait", "how long to wait at most, in milliseconds", schema)
}

fn filters() -> Vec<Value> {
    let text = || json!({ "type": "string" });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 });
    vec![
        query("status", "only jobs with this status", status()),
        query("workerId", "only jobs of this worker", text()),
        query("requestId", "only jobs of this request", text()),
        query("function", "only jobs of this function", text()),
        query("limit", "how many at most", limit),
        query("before", "the `next` of the previous page", json!({ "type": "string", "pattern": JOB_ID })),
    ]
}

fn key_header() -> Value {
    json!({
        "name": "Idempotency-Key", "in": "header", "required": false,
        "description": "names the job: a second request with the same key and input returns the same job",
        "schema": { "type": "string", "pattern": "^[!-~]{1,255}$" },
    })
}

/// The body of `run` and `runsync`.
fn body(manifest: &Manifest, worker: &WorkerType) -> Value {
    let time = |allowed: std::ops::RangeInclusive<u64>, description: &str| {
        json!({
            "type": ["integer", "null"], "minimum": allowed.start(), "maximum": allowed.end(),
            "description": format!("milliseconds {description}"),
        })
    };
    let functions: Vec<&FunctionEntry> = manifest.functions_of(&worker.name).collect();
    let input = input(manifest, &functions);
    // The author of the only function may have chosen one.
    let chosen = match functions.as_slice() {
        [only] => only.settings.example.clone(),
        _ => None,
    };
    let example = chosen.or_else(|| sample(&input, &manifest.definitions));
    let example = example.map(|input| json!({ "input": input }));
    let policy = json!({
        "type": ["object", "null"],
        "properties": {
            "executionTimeout": time(Policy::EXECUTION_TIMEOUT, "that one attempt may run"),
            "ttl": time(Policy::TTL, "from submission until the job is deleted"),
            "lowPriority": {
                "type": ["boolean", "null"], "description": "runs after all other jobs, and does not start a worker",
            },
        },
    });
    let schema = json!({
        "type": "object",
        "properties": {
            "input": input,
            "policy": policy,
            "webhook": {
                "type": ["string", "null"], "format": "uri", "maxLength": 2048,
                "description": "http or https URL that is told of the end",
            },
            "s3Config": { "description": "passed on to a polling worker" },
        },
        "required": ["input"],
    });
    let mut content = json_content(&schema);
    if let Some(example) = example {
        content["application/json"]["example"] = example;
    }
    json!({ "required": true, "content": content })
}

/// What a worker type with these functions takes as `input`.
fn input(manifest: &Manifest, functions: &[&FunctionEntry]) -> Value {
    let own =
        |function: &FunctionEntry| function.input.clone().unwrap_or_else(|| json!({ "type": "object" }));
    match functions {
        [] => json!({ "description": "any JSON value except null; passed to the program unchanged" }),
        [only] => own(only),
        several => {
            let named = |function: &&FunctionEntry| named(&function.call_name(), own(function), manifest);
            json!({ "anyOf": several.iter().map(named).collect::<Vec<_>>() })
        }
    }
}

/// The input of one function of several: its name stands in the envelope. An object has the envelope as one more
/// member; another input stands beside it.
fn named(function: &str, input: Value, manifest: &Manifest) -> Value {
    let mut envelope = object(&[("function", json!({ "const": function }))]);
    envelope["description"] = json!("which function of this worker type");
    let target = input
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| manifest.definitions.get(reference.strip_prefix("#/$defs/")?));
    let mut whole = target.unwrap_or(&input).clone();
    if whole["type"] != "object" || !(whole["properties"].is_object() || whole["properties"].is_null()) {
        return object(&[(envelope::KEY, envelope), ("__input", input)]);
    }
    whole["properties"][envelope::KEY] = envelope;
    match &mut whole["required"] {
        Value::Array(required) => required.push(json!(envelope::KEY)),
        none => *none = json!([envelope::KEY]),
    }
    // The title of the type would name each of them alike in a list.
    whole["title"] = json!(function);
    whole
}
