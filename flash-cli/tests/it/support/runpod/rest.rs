//! REST v2: judges a call by the contract, carries it out, and judges the answer.
use std::{collections::BTreeMap, sync::Arc};

use axum::{body::Body, response::Response};
use serde_json::{Value, json};

use super::{
    catalog,
    cloud::{Incoming, Inner},
    contract::Operation,
    endpoints,
    logs::{Lines, Reading, stream},
    state::State,
    templates,
};

/// Where the stand-in's parts are reached.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub rest: String,
    /// With `/v2`.
    pub queue: String,
    /// Of load-balanced endpoints, whose ids follow.
    pub balanced: String,
}

/// An answer before it is one.
pub struct Reply {
    pub status: u16,
    pub content_type: Option<&'static str>,
    pub headers: Vec<(&'static str, String)>,
    pub body: Content,
}

pub enum Content {
    Empty,
    Json(Value),
    Stream(Body),
}

impl Reply {
    pub fn json(status: u16, body: Value) -> Self {
        Self {
            status,
            content_type: Some("application/json"),
            headers: Vec::new(),
            body: Content::Json(body),
        }
    }

    pub fn empty() -> Self {
        Self { status: 204, content_type: None, headers: Vec::new(), body: Content::Empty }
    }

    pub fn problem(status: u16, detail: String, errors: Vec<String>) -> Self {
        let title = http::StatusCode::from_u16(status).unwrap().canonical_reason().unwrap_or("Error");
        let mut body = json!({ "title": title, "status": status, "detail": detail });
        if !errors.is_empty() {
            body["errors"] = errors.into();
        }
        Self { content_type: Some("application/problem+json"), ..Self::json(status, body) }
    }

    pub fn not_found(what: &str) -> Self {
        Self::problem(404, format!("{what} not found"), Vec::new())
    }

    pub fn too_many(retry_after: u32) -> Self {
        let mut reply =
            Self::problem(429, "rate limit exceeded for the minute window".to_owned(), Vec::new());
        reply.headers.push(("retry-after", retry_after.to_string()));
        reply.headers.push(("ratelimit", format!("\"minute\";r=0;t={retry_after}, \"hour\";r=2800;t=1812")));
        reply
    }

    pub fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.status);
        if let Some(content_type) = self.content_type {
            response = response.header("content-type", content_type);
        }
        for (name, value) in &self.headers {
            response = response.header(*name, value);
        }
        let body = match self.body {
            Content::Empty => Body::empty(),
            Content::Json(value) => Body::from(value.to_string()),
            Content::Stream(body) => body,
        };
        response.body(body).unwrap()
    }
}

/// Answers a call whose key is known.
pub fn answer(inner: &Arc<Inner>, call: &Incoming) -> Reply {
    let Some(methods) = inner.contract.methods(&call.path) else {
        inner.violated(format!("{} {}: the document has no such path", call.method, call.path));
        return Reply::not_found("resource");
    };
    let Some(operation) = inner.contract.operation(&call.method, &call.path) else {
        inner.violated(format!("{} {}: the document has no such method", call.method, call.path));
        let mut reply =
            Reply::problem(405, "The requested method is not allowed for this path.".to_owned(), Vec::new());
        reply.headers.push(("allow", methods.join(", ")));
        return reply;
    };
    let query_errors = inner.contract.query_errors(&operation, &call.query);
    let content_type = call.header("content-type");
    let body_errors = inner.contract.body_errors(&operation, content_type, call.body.as_ref());
    for error in query_errors.iter().chain(&body_errors) {
        inner.violated(format!("{} {}: {error}", call.method, call.path));
    }
    if !body_errors.is_empty() {
        return Reply::problem(422, "Request validation failed.".to_owned(), body_errors);
    }
    // Parameters that nobody knows are ignored; known ones of a wrong kind are refused.
    let wrong: Vec<String> =
        query_errors.into_iter().filter(|error| !error.contains("there is no parameter")).collect();
    if !wrong.is_empty() {
        return Reply::problem(422, "Request validation failed.".to_owned(), wrong);
    }
    let reply = carried_out(inner, &operation, call);
    inner.changed.notify_waiters();
    reply
}

/// Judges an answer; whoever broke the contract with it is the stand-in.
pub fn judge(inner: &Inner, call: &Incoming, reply: &Reply) {
    let Some(operation) = inner.contract.operation(&call.method, &call.path) else { return };
    let body = match &reply.body {
        Content::Json(value) => Some(value),
        Content::Empty | Content::Stream(_) => None,
    };
    for error in inner.contract.answer_errors(&operation, reply.status, reply.content_type, body) {
        inner.violated(format!("answer to {} {}: {error}", call.method, call.path));
    }
}

fn carried_out(inner: &Arc<Inner>, operation: &Operation<'_>, call: &Incoming) -> Reply {
    let mut state = inner.state();
    let state: &mut State = &mut state;
    let id = operation.placeholders.first().map_or("", String::as_str);
    let body = call.body.clone().unwrap_or_default();
    let query: BTreeMap<String, String> = call.query.iter().cloned().collect();
    let addresses = &inner.addresses;
    match operation.id {
        "listEndpoints" => endpoints::list(state, addresses),
        "createEndpoint" => endpoints::create(state, addresses, &body, inner.options.suffix_of_flashboot),
        "getEndpoint" => endpoints::get(state, addresses, id),
        "updateEndpoint" => endpoints::update(state, addresses, id, &body),
        "deleteEndpoint" => endpoints::delete(state, id),
        "listEndpointWorkers" => endpoints::workers(state, id),
        "listEndpointReleases" => endpoints::releases(state, id),
        "getWorkerLogs" => {
            let worker = operation.placeholders[1].clone();
            if !state.endpoints.contains_key(id) || !worker.starts_with(id) {
                return Reply::not_found("worker");
            }
            let Some(lines) = state.lines.get(&worker) else { return Reply::not_found("worker") };
            logs(inner, worker, &query, call, lines)
        }
        "listTemplates" => templates::list(state),
        "createTemplate" => templates::create(state, &body),
        "getTemplate" => templates::get(state, id),
        "updateTemplate" => templates::update(state, id, &body),
        "deleteTemplate" => templates::delete(state, id),
        "listGpuTypes" => catalog::gpus(&query),
        "getGpuType" => catalog::gpu(&decoded(id), &query),
        "listCpuTypes" => catalog::cpus(&query),
        "getCpuType" => catalog::cpu(id, &query),
        "listDataCenters" => catalog::data_centers(&joined(&call.query)),
        "getDataCenter" => catalog::data_center(id, &joined(&call.query)),
        "listServerlessBilling" => billing(state, &query),
        "listNetworkVolumes" => volumes(state),
        "listRegistries" => registries(state),
        other => {
            inner.violated(format!("{other} is not played by the stand-in"));
            Reply::problem(501, format!("{other} is not played"), Vec::new())
        }
    }
}

fn logs(
    inner: &Arc<Inner>,
    worker: String,
    query: &BTreeMap<String, String>,
    call: &Incoming,
    lines: &Lines,
) -> Reply {
    let reading = Reading::new(worker, query, call.header("last-event-id"), lines);
    Reply {
        status: 200,
        content_type: Some("text/event-stream"),
        headers: vec![("cache-control", "no-cache".to_owned()), ("x-accel-buffering", "no".to_owned())],
        body: Content::Stream(stream(inner.clone(), reading)),
    }
}

fn billing(state: &State, query: &BTreeMap<String, String>) -> Reply {
    if query.contains_key("lastN") && (query.contains_key("startTime") || query.contains_key("endTime")) {
        return Reply::problem(400, "lastN excludes startTime and endTime".to_owned(), Vec::new());
    }
    let of = query.get("serverlessId");
    let is_asked = |record: &&Value| of.is_none_or(|id| record["serverlessId"] == id.as_str());
    // RFC 3339 in UTC, as everything here: texts have the order of times.
    let is_inside = |record: &&Value| {
        let text = |field: &str| record[field].as_str().unwrap_or_default();
        query.get("startTime").is_none_or(|start| text("endTime") > start.as_str())
            && query.get("endTime").is_none_or(|end| text("startTime") < end.as_str())
    };
    let records: Vec<&Value> = state.billing.iter().filter(is_asked).filter(is_inside).collect();
    let sum = |field: &str| records.iter().filter_map(|record| record[field].as_f64()).sum::<f64>();
    let ids: std::collections::BTreeSet<&str> =
        records.iter().filter_map(|record| record["serverlessId"].as_str()).collect();
    let bound = |name: &str, other: &str| query.get(name).cloned().unwrap_or_else(|| other.to_owned());
    let metadata = json!({
        "query": {
            "startTime": bound("startTime", "2026-01-01T00:00:00Z"),
            "endTime": bound("endTime", "2026-12-31T00:00:00Z"),
            "bucketSize": bound("bucketSize", "day"),
            "serverlessId": of,
        },
        "recordCount": records.len(),
        "uniqueServerlessCount": ids.len(),
        "totals": {
            "totalAmount": sum("totalAmount"),
            "gpuAmount": sum("gpuAmount"),
            "cpuAmount": sum("cpuAmount"),
            "diskAmount": sum("diskAmount"),
            "feeAmount": sum("feeAmount"),
        },
    });
    Reply::json(200, json!({ "records": records, "metadata": metadata }))
}

fn volumes(state: &State) -> Reply {
    let volumes = state.volumes.iter();
    let volumes: Vec<Value> = volumes
        .map(|(id, center)| json!({ "id": id, "name": id, "size": 10, "dataCenter": center, "type": "STANDARD" }))
        .collect();
    Reply::json(200, json!({ "networkVolumes": volumes }))
}

fn registries(state: &State) -> Reply {
    let registries: Vec<Value> = state.registries.iter().map(|id| json!({ "id": id, "name": id })).collect();
    Reply::json(200, json!({ "registries": registries }))
}

/// Values of a parameter that was given more than once, in one.
fn joined(query: &[(String, String)]) -> BTreeMap<String, String> {
    let mut joined: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in query {
        joined
            .entry(name.clone())
            .and_modify(|before| *before = format!("{before},{value}"))
            .or_insert_with(|| value.clone());
    }
    joined
}

/// A part of a path, as it was before it became one.
pub fn decoded(part: &str) -> String {
    let url = reqwest::Url::parse(&format!("http://localhost/?x={}", part.replace('+', "%2B"))).unwrap();
    url.query_pairs().next().map(|(_, value)| value.into_owned()).unwrap_or_default()
}
