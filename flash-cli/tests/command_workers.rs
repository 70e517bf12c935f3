//! Worker types that are programs of their own: `[workers.NAME]` in `flash.toml`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod support;

use serde_json::{Value, json};
use support::{Client, PATIENCE, Running, crate_of, is_alive, root, wait_for};
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
