//! Traces: what `flash run` and the workers of an app send to a collector that is made of OpenTelemetry's official types.
use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Answer, Client, Running, SOON, crate_of, root, schemathesis::python, until};

const MAIN: &str = r#"
use flash_sdk::{Error, Result, remote};

#[remote(worker = "front", cpu = Cpu3c_1_2, workers = 0..=1, method = POST, path = "/greet/{name}")]
pub async fn greet(name: String) -> Result<String> {
    tracing::info!("greeting {name}");
    let loud = shout(name).await?;
    flaky::spawn(1).await?;
    Ok(loud)
}

#[remote(worker = "back", cpu = Cpu3c_1_2, workers = 0..=1)]
pub async fn shout(name: String) -> Result<String> {
    Ok(louder(&name).await)
}

#[tracing::instrument]
async fn louder(name: &str) -> String {
    tracing::info!("within the span");
    name.to_uppercase()
}

static TRIES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

#[remote(worker = "later", cpu = Cpu3c_1_2, workers = 0..=1, retries = 2, backoff = 1..=1)]
pub async fn flaky(failures: u32) -> Result<u32> {
    match TRIES.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        tried if tried < failures => Err(Error::retryable("busy")),
        tried => Ok(tried),
    }
}

#[flash_sdk::main]
async fn main() {}
"#;

const KEY: &str = "collectors-secret";
const CALLER: &str = "00f067aa0ba902b7";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[derive(Debug, Clone, Deserialize)]
struct Export {
    path: String,
    r#type: String,
    key: Option<String>,
    spans: Vec<Span>,
}

#[derive(Debug, Clone, Deserialize)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: String,
    start: u64,
    end: u64,
    attributes: Value,
    links: Vec<Link>,
    status: String,
    message: String,
    resource: Value,
}

#[derive(Debug, Clone, Deserialize)]
struct Link {
    trace: String,
    id: String,
    attributes: Value,
}

impl Span {
    fn service(&self) -> &str {
        self.resource["service.name"].as_str().unwrap_or_default()
    }
}

/// Ends with the test.
struct Collector {
    child: Child,
    url: String,
    exports: Arc<Mutex<Vec<Export>>>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Collector {
    /// `None` without an interpreter that has the official types.
    fn start(protocol: &str) -> Option<Self> {
        let script = root().join("flash-cli/tests/conformance/otlp_collector.py");
        let mut child =
            Command::new(python()?).arg(script).arg(protocol).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().expect("its port").unwrap();
        let exports: Arc<Mutex<Vec<Export>>> = Arc::default();
        let seen = exports.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                seen.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { child, url: format!("http://127.0.0.1:{port}"), exports })
    }

    fn spans(&self) -> Vec<Span> {
        self.exports.lock().unwrap().iter().flat_map(|export| export.spans.clone()).collect()
    }
}

/// The app, with a feature that the other test apps do not have.
fn app(name: &str) -> TempDir {
    let app = crate_of(name, &[("src/main.rs", MAIN)]);
    let manifest = app.path().join("Cargo.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace(r#"["axum", "openai"]"#, r#"["otel"]"#)).unwrap();
    app
}

fn start(app: &TempDir, environment: &[(&str, &str)]) -> Running {
    let target = root().join("target");
    let mut all = vec![("CARGO_TARGET_DIR", target.to_str().unwrap())];
    all.extend(environment);
    Running::start_with(app.path(), &["--no-reload"], &all)
}

async fn greet(client: &Client, running: &Running, traceparent: Option<&str>) -> Answer {
    let request = client.raw().post(format!("{}/greet/Ada", running.url));
    let request = request.header("content-type", "application/json").body("{}");
    client
        .send(traceparent.into_iter().fold(request, |request, own| request.header("traceparent", own)))
        .await
}

/// The spans as a tree, for a failure.
fn tree(spans: &[Span]) -> String {
    let mut text = String::new();
    for span in spans {
        let Span { name, id, parent, trace, status, .. } = span;
        let _ = writeln!(text, "{trace} {parent} > {id} {}: {name} {status}", span.service());
    }
    text
}

#[tokio::test]
async fn a_request_is_one_trace_from_the_callers_span_to_the_spawned_job() {
    let Some(collector) = Collector::start("http") else { return };
    let app = app("traced-app");
    let headers = format!("x-collector-key={KEY}");
    let running = start(
        &app,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url),
            ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
            ("OTEL_RESOURCE_ATTRIBUTES", "team=shop"),
        ],
    );
    let client = Client::new();
    let answer = greet(&client, &running, Some(&format!("00-{TRACE}-{CALLER}-01"))).await;
    assert_eq!((answer.status, answer.json()), (200, json!("ADA")));
    let spans = until("the whole trace", SOON, async || {
        let spans = collector.spans();
        let count = |name: &str| spans.iter().filter(|span| span.name == name).count();
        let is_whole =
            ["POST /greet/{name}", "request greet", "greet", "job shout", "shout", "louder", "job flaky"]
                .iter()
                .all(|name| count(name) == 1);
        if is_whole && count("flaky") == 2 { Ok(spans) } else { Err(tree(&spans)) }
    })
    .await;
    let all = tree(&spans);
    let find = |name: &str, of: &dyn Fn(&Span) -> bool| {
        let found = spans.iter().find(|span| span.name == name && of(span));
        found.unwrap_or_else(|| panic!("no {name}:\n{all}")).clone()
    };
    let one = |name: &str| find(name, &|_| true);
    let below = |name: &str, parent: &Span| find(name, &|span: &Span| span.parent == parent.id);
    assert!(spans.iter().all(|span| span.trace == TRACE && span.start <= span.end), "{all}");

    // The way down: each span is below the one before, and lies within it.
    let gateway = one("POST /greet/{name}");
    assert_eq!(
        (gateway.parent.as_str(), gateway.kind.as_str(), gateway.service()),
        (CALLER, "SERVER", "flash")
    );
    assert_eq!(gateway.attributes["http.response.status_code"], 200);
    let hop = below("request greet", &gateway);
    let greet = below("greet", &hop);
    let job = below("job shout", &greet);
    let attempt = below("attempt", &job);
    let shout = below("shout", &attempt);
    let louder = below("louder", &shout);
    assert_eq!((greet.service(), shout.service(), louder.service()), ("front", "back", "back"));
    for (outer, inner) in [(&gateway, &hop), (&greet, &job), (&shout, &louder)] {
        let is_within = outer.start <= inner.start && inner.end <= outer.end + 1_000_000;
        assert!(is_within, "{outer:?}\n{inner:?}");
    }
    assert_eq!(louder.attributes["name"], "Ada");
    assert_eq!(shout.resource["team"], "shop");

    // Both started their workers, and waited for that.
    for hop in [&hop, &job] {
        let wait = below("queue wait", hop);
        let start = below("worker start", &wait);
        assert!(start.end <= wait.end + 1_000_000 && start.start < start.end, "{wait:?}\n{start:?}");
    }

    // The spawned job belongs to the request that made it, and says so.
    let spawning = below("POST /v2/later/run", &greet);
    let spawned = below("job flaky", &spawning);
    assert_eq!(spawned.kind, "CONSUMER");
    let [link] = spawned.links.as_slice() else { panic!("{spawned:?}") };
    assert_eq!((link.trace.as_str(), &link.id), (TRACE, &spawning.id));
    assert_eq!(link.attributes, json!({ "flash.link": "spawned by" }));
    let attempt = |number: u32| {
        find("attempt", &|span: &Span| {
            span.parent == spawned.id && span.attributes["flash.attempt"] == number
        })
    };
    let (first, second) = (attempt(1), attempt(2));
    assert_eq!((first.status.as_str(), second.status.as_str()), ("ERROR", "UNSET"));
    assert!(first.message.contains("busy"), "{first:?}");
    let [link] = second.links.as_slice() else { panic!("{second:?}") };
    assert_eq!((&link.id, &link.attributes), (&first.id, &json!({ "flash.link": "retry of" })));
    assert_eq!(
        (below("flaky", &first).status, below("flaky", &second).status),
        ("ERROR".into(), "UNSET".into())
    );

    // Log lines name the span that they were written in, those of the platform that of the hop.
    for (text, span) in [("within the span", &louder), ("greeting Ada", &greet), ("shout COMPLETED", &job)] {
        let is_it = |line: &Value| line["text"].as_str().is_some_and(|own| own.starts_with(text));
        let line = running.event("log", is_it);
        assert_eq!((&line["trace_id"], &line["span_id"]), (&json!(TRACE), &json!(span.id)), "{line}");
    }

    // As the specification wants it, with the key, which nobody else gets to see.
    for export in collector.exports.lock().unwrap().iter() {
        let Export { path, r#type, key, .. } = export;
        assert_eq!((path.as_str(), r#type.as_str()), ("/v1/traces", "application/x-protobuf"));
        assert_eq!(key.as_deref(), Some(KEY));
    }
    let seen =
        format!("{}{}", running.stderr(), client.get(format!("{}/_flash/metrics", running.url)).await.text);
    assert!(!seen.contains(KEY), "{seen}");
}

#[tokio::test]
async fn a_trace_that_its_caller_does_not_sample_is_passed_on_and_not_sent() {
    let Some(collector) = Collector::start("http") else { return };
    let app = app("unsampled-app");
    let running = start(&app, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]);
    let client = Client::new();
    let sampled = "a".repeat(32);
    for (trace, flags) in [(TRACE, "00"), (&sampled, "01")] {
        let answer = greet(&client, &running, Some(&format!("00-{trace}-{CALLER}-{flags}"))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let spans = until("the sampled trace", SOON, async || {
        let spans = collector.spans();
        let is_there = ["POST /greet/{name}", "louder", "job shout"]
            .iter()
            .all(|name| spans.iter().any(|span| span.name == *name));
        if is_there { Ok(spans) } else { Err(tree(&spans)) }
    })
    .await;
    assert!(spans.iter().all(|span| span.trace == sampled), "{}", tree(&spans));
}

#[tokio::test]
async fn a_collector_that_takes_grpc_gets_the_same_and_what_it_refuses_is_told() {
    let Some(collector) = Collector::start("grpc") else { return };
    let app = app("grpc-traces-app");
    let headers = format!("x-collector-key={KEY}");
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", &headers),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let running = start(&app, &settings);
    let client = Client::new();
    assert_eq!(greet(&client, &running, None).await.status, 200);
    until("spans of the platform and of workers", SOON, async || {
        let spans = collector.spans();
        let has = |name: &str| spans.iter().any(|span| span.name == name);
        if has("POST /greet/{name}") && has("louder") { Ok(()) } else { Err(tree(&spans)) }
    })
    .await;
    for export in collector.exports.lock().unwrap().iter() {
        assert_eq!((export.path.as_str(), export.key.as_deref()), ("Export", Some(KEY)));
    }
    drop(running);

    let running =
        start(&app, &[settings[0], settings[1], ("OTEL_EXPORTER_OTLP_HEADERS", "x-collector-refuses=1")]);
    assert_eq!(greet(&client, &running, None).await.status, 200);
    let says = |line: &Value| line["text"].as_str().is_some_and(|text| text.starts_with("traces are lost"));
    let line = running.event("log", says);
    assert!(
        line["text"].as_str().unwrap().contains("it answered PERMISSION_DENIED: not with this key"),
        "{line}"
    );
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_a_line_and_no_request() {
    let app = app("lost-traces-app");
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://user:{KEY}@{away}");
    let running = start(&app, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &url)]);
    let client = Client::new();
    for _ in 0..3 {
        let answer = greet(&client, &running, None).await;
        assert_eq!((answer.status, answer.json()), (200, json!("ADA")));
    }
    let says = |line: &Value| line["text"].as_str().is_some_and(|text| text.starts_with("traces are lost"));
    let line = running.event("log", says);
    let text = line["text"].as_str().unwrap();
    assert!(text.contains(&away.to_string()) && text.contains("requests go on"), "{text}");
    assert!(
        !running.stderr().contains(KEY) && running.count("log", |line| line.to_string().contains(KEY)) == 0
    );
}
