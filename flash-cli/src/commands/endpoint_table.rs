//! The endpoint table: one row per function or command, with a `curl` command that works as printed.
use std::path::Path;

use flash_platform::sample::sample;
use flash_protocol::{
    CommandWorker,
    manifest::{ArgumentEntry, ArgumentSource, EndpointKind, FunctionEntry, HttpEntry, Manifest, WorkerType},
    wire::envelope::{self, Envelope},
};
use flash_target::DeployedEndpoint;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::output::Endpoint;

/// Everything that must be encoded in some part of a URL.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The rows for an app served at `url`. `program` is `curl` with its authorization.
pub(super) fn endpoints(
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
    let routers = manifest.routers().map(|(worker, http)| {
        let health = format!("{url}/v2/{}/health", worker.name);
        row_of_router(worker, http, http.path().to_owned(), &tried(http, url, Some(&health)), program)
    });
    functions
        .chain(routers)
        .chain(commands.iter().map(|command| row_of_command(command, url, program)))
        .collect()
}

/// The rows for an app whose worker types each have an address, as in a cloud: jobs name their function inside.
pub(super) fn endpoints_apart(
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
                    "{program} -X POST {} -H 'content-type: application/json' -d {}",
                    quoted(&whole),
                    quoted(&job(manifest, function))
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
    let routers = manifest.routers().map(|(worker, http)| {
        let own = deployed.iter().find(|own| own.worker == worker.name);
        let url = own.map_or("", |own| own.url.trim_end_matches('/'));
        let tried = tried(http, url, own.and_then(|own| own.health.as_deref()));
        row_of_router(worker, http, format!("{url}{}", http.path()), &tried, program)
    });
    manifest.functions.iter().map(row).chain(routers).collect()
}

/// What to ask a router for: its list of models, or else the health of its worker type. Which other paths it has, only
/// the router knows.
fn tried(http: &HttpEntry, url: &str, health: Option<&str>) -> String {
    match (http.example_path(), health) {
        (Some(path), _) => format!("{url}{path}"),
        (None, Some(health)) => health.to_owned(),
        (None, None) => format!("{url}{}", http.path()),
    }
}

fn row_of_router(
    worker: &WorkerType,
    http: &HttpEntry,
    path: String,
    tried: &str,
    program: &str,
) -> Endpoint {
    Endpoint {
        method: "ANY".to_owned(),
        path,
        function: http.function.clone(),
        worker: worker.name.clone(),
        compute: worker.compute.label(),
        workers: workers(worker),
        curl: format!("{program} {}", quoted(tried)),
    }
}

/// A job for this function, as its queue takes it.
fn job(manifest: &Manifest, function: &FunctionEntry) -> String {
    let input = function.input.as_ref().map_or_else(|| json!({}), |schema| input(manifest, schema));
    let envelope = Envelope { function: Some(function.call_name().into()), ..Envelope::default() };
    let sealed = serde_json::value::to_raw_value(&input).map(|input| envelope::seal(&envelope, &input));
    // It consists of JSON values only.
    sealed.map_or_else(|_| "{}".to_owned(), |input| format!("{{\"input\":{}}}", input.get()))
}

fn row_of_command(command: &CommandWorker, url: &str, program: &str) -> Endpoint {
    let worker = &command.worker_type;
    let name = &worker.name;
    let (method, path, curl) = match worker.kind {
        EndpointKind::Queue => {
            let path = format!("/v2/{name}/runsync");
            let curl = format!(
                "{program} -X POST {} -H 'content-type: application/json' -d '{{\"input\":{{}}}}'",
                quoted(&format!("{url}{path}"))
            );
            ("POST", path, curl)
        }
        EndpointKind::LoadBalanced => {
            ("ANY", format!("/{name}/"), format!("{program} {}", quoted(&format!("{url}/{name}/"))))
        }
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
    format!("{}..={}", worker.workers_min, worker.workers_max)
}

fn curl(manifest: &Manifest, function: &FunctionEntry, method: &str, url: &str, program: &str) -> String {
    let (mut url, mut query) = (url.to_owned(), Vec::new());
    for argument in &function.arguments {
        let texts = || texts(manifest, &argument.schema);
        match argument.source {
            ArgumentSource::Path => url = url.replace(&format!("{{{}}}", argument.name), &texts().join(",")),
            ArgumentSource::Query if argument.required => {
                query.extend(texts().iter().map(|text| format!("{}={text}", argument.name)));
            }
            ArgumentSource::Query | ArgumentSource::Body | ArgumentSource::Headers => {}
        }
    }
    if !query.is_empty() {
        url = format!("{url}?{}", query.join("&"));
    }
    let url = quoted(&url);
    let verb = match method {
        "GET" => String::new(),
        // With `-X HEAD` curl would wait for a body.
        "HEAD" => " --head".to_owned(),
        other => format!(" -X {other}"),
    };
    let headers = function.headers.iter().filter(|header| header.required);
    let headers: String = headers.map(|header| format!(" -H '{}: VALUE'", header.name)).collect();
    let url = format!("{url}{headers}");
    match &function.input {
        // Only the function knows the fields.
        Some(_) if function.takes_form() => format!("{program}{verb} {url} -F FIELD=VALUE"),
        Some(_) if function.raw_body => {
            format!("{program}{verb} {url} -H 'content-type: application/octet-stream' --data-binary hello")
        }
        Some(schema) => {
            let body = body(manifest, function, schema).to_string();
            format!("{program}{verb} {url} -H 'content-type: application/json' -d {}", quoted(&body))
        }
        None => format!("{program}{verb} {url}"),
    }
}

/// A small input for a function: path and query arguments are listed with those of the body, by name.
pub(super) fn example(manifest: &Manifest, function: &FunctionEntry) -> Value {
    let body = match &function.input {
        Some(schema) if !function.raw_body => body(manifest, function, schema),
        // Raw bytes are listed by name, too.
        _ => json!({}),
    };
    let is_outside = |own: &&ArgumentEntry| own.source != ArgumentSource::Body || function.raw_body;
    let outside = function.arguments.iter().filter(is_outside).filter(|own| own.required);
    let outside = outside.map(|own| (own.name.clone(), input(manifest, &own.schema)));
    match (body, function.route.is_some()) {
        (Value::Object(body), true) => Value::Object(outside.chain(body).collect()),
        (body, _) => body,
    }
}

/// `curl` with the header in this file.
pub(super) fn curl_with_header(file: &Path) -> String {
    format!("curl -H {}", quoted(&format!("@{}", file.display())))
}

/// Quoted as one word for a shell.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "/._-+@:%,".contains(char);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

/// A client's text for a path or query parameter of this schema: one value, or one per item of an array.
fn texts(manifest: &Manifest, schema: &Value) -> Vec<String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    let texts = match sample(schema, &manifest.definitions) {
        Some(Value::Array(items)) => items.into_iter().map(text).collect(),
        Some(value) => vec![text(value)],
        None => vec!["text".to_owned()],
    };
    texts.iter().map(|text| utf8_percent_encode(text, ENCODED).to_string()).collect()
}

/// The input of a function, or the body of a route: what its author chose, or what fits the schema.
fn body(manifest: &Manifest, function: &FunctionEntry, schema: &Value) -> Value {
    function.settings.example.clone().unwrap_or_else(|| input(manifest, schema))
}

/// A value that fits the schema.
fn input(manifest: &Manifest, schema: &Value) -> Value {
    sample(schema, &manifest.definitions).unwrap_or_else(|| json!({}))
}

#[cfg(test)]
mod tests {
    use flash_protocol::manifest::RouteEntry;

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

    #[test]
    fn a_router_is_asked_for_what_is_there_whatever_its_paths_are() {
        let router = |models: &[&str]| HttpEntry {
            prefix: Some("/chat".to_owned()),
            models: models.iter().map(|name| (*name).to_owned()).collect(),
            function: "Chat::routes".to_owned(),
            file: String::new(),
            line: 1,
            docs: String::new(),
        };
        let health = Some("http://h/v2/chat/health");
        assert_eq!(tried(&router(&[]), "http://h", health), "http://h/v2/chat/health");
        assert_eq!(tried(&router(&["parrot"]), "http://h", health), "http://h/v1/models");
        assert_eq!(tried(&router(&[]), "http://h", None), "http://h/chat");
    }

    #[test]
    fn a_curl_is_one_command_of_a_shell_whatever_the_schema_and_the_address_are() {
        let argument = |name: &str, source, required, schema: Value| ArgumentEntry {
            name: name.to_owned(),
            source,
            required,
            schema,
        };
        let text = |given: &str| json!({ "type": "string", "examples": [given] });
        let mut manifest = manifest();
        let mut function = manifest.functions[0].clone();
        function.input = None;
        function.route = Some(RouteEntry { method: "GET".to_owned(), path: "/a/{id}/b".to_owned() });
        function.arguments = vec![
            argument("id", ArgumentSource::Path, true, text("a/b? c'd")),
            argument("tag", ArgumentSource::Query, true, json!({ "type": "array", "items": text("x&y") })),
            argument("on", ArgumentSource::Query, true, json!({ "type": "boolean" })),
            argument("at", ArgumentSource::Query, false, json!({ "type": "integer" })),
        ];
        let curl = |function: &FunctionEntry, manifest: &Manifest| {
            let mut manifest = manifest.clone();
            manifest.functions = vec![function.clone()];
            endpoints(&manifest, &[], "http://[::1]:8888", "curl").remove(0).curl
        };
        assert_eq!(
            curl(&function, &manifest),
            "curl 'http://[::1]:8888/a/a%2Fb%3F%20c%27d/b?tag=x%26y&on=true'"
        );
        function.route = Some(RouteEntry { method: "HEAD".to_owned(), path: "/a".to_owned() });
        function.arguments.clear();
        assert_eq!(curl(&function, &manifest), "curl --head 'http://[::1]:8888/a'");
        function.route = Some(RouteEntry { method: "POST".to_owned(), path: "/a".to_owned() });
        function.input = Some(json!({ "$ref": "#/$defs/It" }));
        manifest.definitions.insert("It".to_owned(), text("it's"));
        let said = curl(&function, &manifest);
        assert!(said.ends_with("-d '\"it'\\''s\"'"), "{said}");
        assert_eq!(curl_with_header(Path::new("/a/key")), "curl -H @/a/key");
        assert_eq!(curl_with_header(Path::new("/a b/it's")), "curl -H '@/a b/it'\\''s'");
    }
}
