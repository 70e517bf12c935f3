//! The endpoint table: one row a function or command, with a `curl` that works as printed.
use flash_sdk::{
    manifest::{ArgumentSource, EndpointKind, FunctionEntry, Manifest, WorkerType},
    wire::envelope::{self, Envelope},
};
use serde_json::{Map, Value, json};

use crate::{
    output::Endpoint,
    target::{DeployedEndpoint, local::CommandWorker},
};

/// The rows for an app that is served at `url`. `program` is `curl` with what opens the place.
pub(in crate::commands) fn endpoints(
    manifest: &Manifest,
    commands: &[CommandWorker],
    url: &str,
    program: &str,
) -> Vec<Endpoint> {
    let mut modules = Vec::new();
    let row = |function: &FunctionEntry| {
        let worker = manifest.worker(&function.worker);
        let (method, path) = match &function.route {
            Some(route) => (route.method.clone(), route.path.clone()),
            None => {
                let first = !modules.contains(&function.module);
                modules.push(function.module.clone());
                let name = if first { String::new() } else { format!("/{}", function.name) };
                ("POST".to_owned(), format!("/{}{name}/run_sync", function.module))
            }
        };
        Endpoint {
            curl: curl(manifest, function, &method, &format!("{url}{path}"), program),
            method,
            path,
            function: function.call_name(),
            worker: function.worker.clone(),
            compute: worker.map_or(String::new(), |worker| worker.compute.label()),
            workers: worker.map_or(String::new(), workers),
        }
    };
    let functions = manifest.functions.iter().map(row);
    functions.chain(commands.iter().map(|command| row_of_command(command, url, program))).collect()
}

/// The rows for an app whose worker types have an address each, as in a cloud: jobs name their function inside.
pub(in crate::commands) fn endpoints_apart(
    manifest: &Manifest,
    deployed: &[DeployedEndpoint],
    program: &str,
) -> Vec<Endpoint> {
    let row = |function: &FunctionEntry| {
        let worker = manifest.worker(&function.worker);
        let url = deployed.iter().find(|own| own.worker == function.worker).map(|own| own.url.as_str());
        let url = url.unwrap_or_default().trim_end_matches('/');
        let (method, path, curl) = match &function.route {
            Some(route) => {
                let whole = format!("{url}{}", route.path);
                let curl = curl(manifest, function, &route.method, &whole, program);
                (route.method.clone(), whole, curl)
            }
            None => {
                let whole = format!("{url}/runsync");
                let curl = format!(
                    "{program} -X POST {whole} -H 'content-type: application/json' -d '{}'",
                    job(manifest, function).replace('\'', "'\\''")
                );
                ("POST".to_owned(), whole, curl)
            }
        };
        Endpoint {
            method,
            path,
            function: function.call_name(),
            worker: function.worker.clone(),
            compute: worker.map_or(String::new(), |worker| worker.compute.label()),
            workers: worker.map_or(String::new(), workers),
            curl,
        }
    };
    manifest.functions.iter().map(row).collect()
}

/// A job of this function, as its queue takes it.
fn job(manifest: &Manifest, function: &FunctionEntry) -> String {
    let input = function.input.as_ref().map_or_else(|| json!({}), |input| sample(manifest, input, 0));
    let envelope = Envelope { function: Some(function.call_name().into()), ..Envelope::default() };
    let sealed = serde_json::value::to_raw_value(&input).map(|input| envelope::seal(&envelope, &input));
    // It is made of JSON.
    sealed.map_or_else(|_| "{}".to_owned(), |input| format!("{{\"input\":{}}}", input.get()))
}

fn row_of_command(command: &CommandWorker, url: &str, program: &str) -> Endpoint {
    let worker = &command.worker_type;
    let name = &worker.name;
    let (method, path, curl) = match worker.kind {
        EndpointKind::Queue => {
            let path = format!("/v2/{name}/runsync");
            let curl = format!(
                "{program} -X POST {url}{path} -H 'content-type: application/json' -d '{{\"input\":{{}}}}'"
            );
            ("POST", path, curl)
        }
        EndpointKind::LoadBalanced => ("ANY", format!("/{name}/"), format!("{program} {url}/{name}/")),
    };
    Endpoint {
        method: method.to_owned(),
        path,
        function: command.line(),
        worker: name.clone(),
        compute: worker.compute.label(),
        workers: workers(worker),
        curl,
    }
}

fn workers(worker: &WorkerType) -> String {
    format!("{}..{}", worker.workers_min, worker.workers_max)
}

fn curl(manifest: &Manifest, function: &FunctionEntry, method: &str, url: &str, program: &str) -> String {
    let (mut url, mut query) = (url.to_owned(), Vec::new());
    for argument in &function.arguments {
        let value = match sample(manifest, &argument.schema, 0) {
            Value::String(text) => text,
            other => other.to_string(),
        };
        match argument.source {
            ArgumentSource::Path => url = url.replace(&format!("{{{}}}", argument.name), &value),
            ArgumentSource::Query if argument.required => query.push(format!("{}={value}", argument.name)),
            ArgumentSource::Query | ArgumentSource::Body => {}
        }
    }
    if !query.is_empty() {
        url = format!("'{url}?{}'", query.join("&"));
    }
    let verb = if method == "GET" { String::new() } else { format!(" -X {method}") };
    match &function.input {
        Some(input) => {
            let body = sample(manifest, input, 0).to_string().replace('\'', "'\\''");
            format!("{program}{verb} {url} -H 'content-type: application/json' -d '{body}'")
        }
        None => format!("{program}{verb} {url}"),
    }
}

/// A small input of a function: arguments in path and query stand beside those of the body, by name.
pub(in crate::commands) fn example(manifest: &Manifest, function: &FunctionEntry) -> Value {
    let body = function.input.as_ref().map_or_else(|| json!({}), |input| sample(manifest, input, 0));
    let outside = function.arguments.iter().filter(|own| own.source != ArgumentSource::Body && own.required);
    let outside = outside.map(|own| (own.name.clone(), sample(manifest, &own.schema, 0)));
    match (body, function.route.is_some()) {
        (Value::Object(body), true) => Value::Object(outside.chain(body).collect()),
        (body, _) => body,
    }
}

/// A small value of this schema: its example or default, else one of its type.
fn sample(manifest: &Manifest, schema: &Value, depth: u32) -> Value {
    let Value::Object(members) = schema else { return json!({}) };
    if let Some(given) = members.get("examples").and_then(|all| all.get(0)).or_else(|| members.get("default"))
    {
        return given.clone();
    }
    if let Some(given) = members.get("const").or_else(|| members.get("enum").and_then(|all| all.get(0))) {
        return given.clone();
    }
    // A type that holds itself would have no end.
    if depth > 8 {
        return Value::Null;
    }
    if let Some(name) =
        members.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix("#/$defs/"))
    {
        return manifest
            .definitions
            .get(name)
            .map_or(Value::Null, |target| sample(manifest, target, depth + 1));
    }
    if let Some(choice) = ["oneOf", "anyOf"].iter().find_map(|key| members.get(*key)?.get(0)) {
        return sample(manifest, choice, depth + 1);
    }
    let kind = match members.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        kind => kind.and_then(Value::as_str),
    };
    match kind {
        Some("string") => json!("text"),
        Some("integer") => match members.get("minimum").and_then(Value::as_i64) {
            Some(least) if least > 1 => json!(least),
            _ => json!(1),
        },
        Some("number") => json!(1.0),
        Some("boolean") => json!(true),
        Some("array") => match members.get("items") {
            Some(items) => json!([sample(manifest, items, depth + 1)]),
            None => json!([]),
        },
        Some("null") => Value::Null,
        _ => {
            let required = members.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
            let properties = members.get("properties").and_then(Value::as_object);
            let of = |name: &Value| {
                let name = name.as_str()?;
                Some((name.to_owned(), sample(manifest, properties?.get(name)?, depth + 1)))
            };
            Value::Object(required.iter().filter_map(of).collect::<Map<_, _>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deploy::fixtures::manifest;

    #[test]
    fn apart_each_function_is_at_the_address_of_its_worker_type_and_jobs_name_their_function() {
        let manifest = manifest();
        let at = |worker: &WorkerType| DeployedEndpoint {
            worker: worker.name.clone(),
            kind: worker.kind,
            id: worker.name.clone(),
            url: format!("https://{}.example", worker.name),
            health: None,
        };
        let deployed: Vec<DeployedEndpoint> = manifest.workers.iter().map(at).collect();
        let rows = endpoints_apart(&manifest, &deployed, "curl");
        assert_eq!(rows.len(), manifest.functions.len());
        for (row, function) in rows.iter().zip(&manifest.functions) {
            assert!(row.path.starts_with(&format!("https://{}.example/", function.worker)), "{row:?}");
            match &function.route {
                Some(route) => assert!(row.path.ends_with(&route.path), "{row:?}"),
                None => {
                    let named = format!("{{\"input\":{{\"__flash\":{{\"function\":\"{}\"}}", row.function);
                    assert!(row.path.ends_with("/runsync") && row.curl.contains(&named), "{row:?}");
                }
            }
        }
    }
}
