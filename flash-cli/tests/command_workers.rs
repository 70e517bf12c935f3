//! Worker types that are programs of their own: `[workers.NAME]` in `flash.toml`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod support;

use serde_json::{Value, json};
use support::{Client, Running, crate_of, is_alive, root, wait_for};
use tempfile::TempDir;

const WORKER: &str = include_str!("command_workers/worker.py");
const SERVER: &str = include_str!("command_workers/server.py");

/// An app without functions, but for what `flash.toml` says.
const EMPTY_APP: &str = "#[flash_sdk::main]\nasync fn main() {}\n";

fn app(name: &str, flash_toml: &str) -> TempDir {
    let files = [
        ("src/main.rs", EMPTY_APP),
        ("flash.toml", flash_toml),
        ("worker.py", WORKER),
        ("server.py", SERVER),
    ];
    crate_of(name, &files)
}

fn start(directory: &TempDir, arguments: &[&str]) -> Running {
    let target = root().join("target");
    Running::start_with(directory.path(), arguments, &[("CARGO_TARGET_DIR", target.to_str().unwrap())])
}

async fn runsync(client: &Client, app: &Running, worker: &str, input: Value) -> Value {
    let answer = client.post(format!("{}/v2/{worker}/runsync", app.url), json!({ "input": input })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

const CAPTIONER: &str = r#"
[workers.captioner]
command = ["python3", "-u", "worker.py", "first"]
env = { GREETING = "hi", RUNPOD_SKIP_GPU_CHECK = "false" }
"#;

#[tokio::test]
async fn a_program_with_the_worker_protocol_serves_jobs_as_they_were_sent() {
    let directory = app("command-queue", CAPTIONER);
    let app = start(&directory, &[]);
    let client = Client::new();
    for input in [
        json!({}),
        json!({ "a": [1, { "b": null }] }),
        json!({ "__flash": { "function": "x" } }),
        json!([1]),
        json!("text"),
    ] {
        let job = runsync(&client, &app, "captioner", input.clone()).await;
        assert_eq!(job["status"], "COMPLETED", "{job}");
        assert_eq!(job["output"], json!({ "input": input, "arguments": ["first"] }));
    }
}

const GALLERY: &str = r#"
[workers.gallery]
kind = "load_balanced"
command = ["python3", "-u", "server.py"]
workers = "0..=1"
idle_timeout = 60
env = { HEALTH_CHECK_PATH = "/healthz" }
"#;

#[tokio::test]
async fn a_program_that_serves_http_gets_every_request_below_its_name() {
    let directory = app("command-http", GALLERY);
    let app = start(&directory, &[]);
    let client = Client::new();
    let url = format!("{}/gallery", app.url);
    let first = client.get(&url).await.json();
    assert_eq!((&first["method"], &first["path"]), (&json!("GET"), &json!("/")));
    for (method, path) in
        [("POST", "/a/b%20c?d=e&f"), ("PUT", "/"), ("DELETE", "/x//y"), ("PATCH", "/v2/run")]
    {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer =
            client.send(client.raw().request(method.clone(), format!("{url}{path}")).body("hello")).await;
        let seen = answer.json();
        assert_eq!((&seen["method"], &seen["path"]), (&json!(method.as_str()), &json!(path)));
        assert_eq!((&seen["body"], &seen["pid"]), (&json!("hello"), &first["pid"]));
    }
}

#[tokio::test]
async fn an_unhealthy_server_is_replaced() {
    let directory = app("command-unhealthy", GALLERY);
    let app = start(&directory, &[]);
    let client = Client::new();
    let broken = client.get(format!("{}/gallery/break", app.url)).await.json();
    app.event("log", |line| {
        line["text"]
            == "unhealthy, so it is replaced: /healthz answers 500 Internal Server Error; 200 is expected \
                         (3 times in a row)"
    });
    let next = client.get(format!("{}/gallery/", app.url)).await.json();
    assert_ne!(next["pid"], broken["pid"]);
    let old = i32::try_from(broken["pid"].as_i64().unwrap()).unwrap();
    wait_for("the end of the unhealthy one", support::SOON, || {
        if is_alive(old) { Err("still runs") } else { Ok(()) }.map_err(str::to_owned)
    });
}
