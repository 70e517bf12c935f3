//! A worker's value from its `#[init]` to its `#[exit]`, its health, what its calls know, and calls with options.
use std::{path::Path, process::Command};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Running, SOON, fixture, is_alive, until, wait_for};

struct Api {
    app: Running,
    client: Client,
}

impl Api {
    fn start() -> Self {
        Self { app: Running::start(&fixture(), &["--no-reload"]), client: Client::new() }
    }

    fn url(&self, worker: &str, rest: &str) -> String {
        format!("{}/v2/{worker}/{rest}", self.app.url)
    }

    /// The job that a function ends with.
    async fn call(&self, worker: &str, function: &str, mut input: Value) -> Value {
        input["__flash"] = json!({ "function": function });
        let ended = self.client.post(self.url(worker, "runsync"), json!({ "input": input })).await.json();
        assert_eq!(ended["status"], "COMPLETED", "{ended}");
        ended
    }

    async fn submit(&self, worker: &str, input: Value) {
        let answer = self.client.post(self.url(worker, "run"), json!({ "input": input })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Waits until the queue has these jobs running and waiting.
    async fn jobs_are(&self, worker: &str, in_progress: u64, in_queue: u64) {
        until("the jobs", SOON, async || {
            let jobs = self.client.get(self.url(worker, "health")).await.json()["jobs"].clone();
            match jobs["inProgress"] == in_progress && jobs["inQueue"] == in_queue {
                true => Ok(()),
                false => Err(jobs.to_string()),
            }
        })
        .await;
    }
}

fn said(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

#[tokio::test]
async fn an_ill_worker_says_why_ends_its_value_and_is_replaced_and_so_does_a_stopped_one() {
    let api = Api::start();
    let directory = TempDir::new().unwrap();
    let (first_words, last_words) = (directory.path().join("first"), directory.path().join("last"));
    let watch = async |file: &Path| {
        let ended = api.call("guarded", "Guarded::watch", json!({ "last_words": file })).await;
        i32::try_from(ended["output"].as_u64().unwrap()).unwrap()
    };
    let ill = watch(&first_words).await;
    let ended = api.call("guarded", "Guarded::context", json!({})).await;
    let context = &ended["output"];
    assert_eq!((&context["attempt"], &context["worker"]), (&json!(1), &ended["workerId"]), "{ended}");
    assert!(context["cost"].as_u64().is_some(), "{ended}");

    api.call("guarded", "Guarded::fall_ill", json!({})).await;
    api.app.event("log", |line| {
        let text = line["text"].as_str().unwrap();
        text.contains("unhealthy, replacing it: `#[health]` of `Guarded` failed 2 times in a row")
            && text.contains("the device is lost")
    });
    wait_for("the end of the ill worker", SOON, || if is_alive(ill) { Err(ill.to_string()) } else { Ok(()) });
    assert_eq!(said(&first_words), format!("ended {ill}\n"));

    let well = watch(&last_words).await;
    assert_ne!(well, ill);
    api.app.signal(Signal::SIGTERM);
    let Api { app, .. } = api;
    let status = tokio::task::spawn_blocking(move || app.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert_eq!(said(&last_words), format!("ended {well}\n"));
}

#[test]
fn on_another_platform_an_ill_worker_ends_by_itself_with_a_failure() {
    let directory = TempDir::new().unwrap();
    let last_words = directory.path().join("last");
    // Nothing listens on port 9 of loopback: it asks for jobs in vain.
    let output = Command::new(crate::worker_protocol::binary())
        .env("FLASH_WORKER", "guarded")
        .env("FIXTURE_BORN_ILL", &last_words)
        .env("RUNPOD_WEBHOOK_GET_JOB", "http://127.0.0.1:9/job-take/$ID?gpu=")
        .env("RUNPOD_WEBHOOK_POST_OUTPUT", "http://127.0.0.1:9/job-done/$RUNPOD_POD_ID/$ID?gpu=")
        .env_remove("FLASH_EXCHANGE_URL")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("unhealthy") && stderr.contains("the device is lost"), "{stderr}");
    assert!(said(&last_words).starts_with("ended "), "its value ended first");
}

#[tokio::test]
async fn a_call_of_low_priority_from_another_worker_runs_after_a_later_job() {
    let api = Api::start();
    let directory = TempDir::new().unwrap();
    let (file, gate) = (directory.path().join("lines"), directory.path().join("gate"));
    api.submit("ordered", json!({ "file": file, "line": "first", "gate": gate })).await;
    api.jobs_are("ordered", 1, 0).await;
    let last = api.call("patient", "write_line_last", json!({ "file": file }));
    let meanwhile = async {
        api.jobs_are("ordered", 1, 1).await;
        api.submit("ordered", json!({ "file": file, "line": "normal" })).await;
        api.jobs_are("ordered", 1, 2).await;
        std::fs::write(&gate, "").unwrap();
    };
    let (last, ()) = tokio::join!(last, meanwhile);
    assert_eq!(last["output"], 1, "the attempt");
    assert_eq!(said(&file), "first\nnormal\nlow\n");
}
