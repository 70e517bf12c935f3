//! An app whose jobs outlive its `flash`: the fixture's `crashes.rs` alone, which is quick to build, in a
//! directory of its own, which is where jobs are kept.
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Answer, Client, Running, crate_of, root};

/// Signs webhooks, with `flash` and with the receiver.
pub const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// See the module.
pub struct Kept {
    directory: TempDir,
    target: String,
    gate: String,
}

impl Kept {
    /// `name` must be that of one test: they share the directory that cargo builds in.
    pub fn new(name: &str, settings: &str) -> Self {
        let main =
            "mod crashes;\n\n#[flash_sdk::main]\nasync fn main() -> flash_sdk::Result<()> {\n    Ok(())\n}\n";
        let functions = include_str!("../../fixture/src/crashes.rs");
        let files = [("src/main.rs", main), ("src/crashes.rs", functions), ("flash.toml", settings)];
        let directory = crate_of(name, &files);
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let (target, gate) = (path(root().join("target")), path(directory.path().join("gate")));
        Self { directory, target, gate }
    }

    /// The crate's directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where its jobs are.
    pub fn state(&self) -> PathBuf {
        self.path().join(".flash/state")
    }

    /// The file that lets workers of `barred` work.
    pub fn gate(&self) -> &Path {
        Path::new(&self.gate)
    }

    /// Starts `flash`, again or for the first time.
    pub fn start(&self) -> Running {
        self.start_with("--keep")
    }

    /// As [`Kept::start`], with another `--keep`.
    pub fn start_with(&self, keep: &str) -> Running {
        let environment = [
            ("CARGO_TARGET_DIR", self.target.as_str()),
            ("FIXTURE_GATE", self.gate.as_str()),
            ("FLASH_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ];
        Running::start_with(self.path(), &["--no-reload", keep], &environment)
    }
}

/// Ends it as a power cut of one process: nothing can be finished.
pub fn kill(app: Running) {
    app.signal(Signal::SIGKILL);
    app.wait();
}

/// The queue API of one worker type.
#[derive(Clone)]
pub struct Endpoint {
    pub client: Client,
    pub url: String,
}

impl Endpoint {
    pub fn of(app: &Running, worker: &str) -> Self {
        Self { client: Client::new(), url: format!("{}/v2/{worker}", app.url) }
    }

    pub async fn get(&self, rest: &str) -> Answer {
        self.client.get(format!("{}/{rest}", self.url)).await
    }

    pub async fn post(&self, rest: &str, body: Value) -> Answer {
        self.client.post(format!("{}/{rest}", self.url), body).await
    }

    /// A request that is to have this key.
    pub async fn run_with_key(&self, key: &str, body: &Value) -> Answer {
        let request = self.client.raw().post(format!("{}/run", self.url)).header("idempotency-key", key);
        self.client.send(request.json(body)).await
    }

    /// Submits a job that is accepted; its id.
    pub async fn run(&self, body: Value) -> String {
        id_of(&self.post("run", body).await)
    }

    pub async fn status(&self, job: &str) -> Value {
        self.get(&format!("status/{job}")).await.json()
    }

    /// Waits until the job looks like this.
    pub async fn until(&self, job: &str, fits: fn(&Value) -> bool) -> Value {
        // A loop of its own: a task cannot hold a borrowing closure that is asynchronous.
        let (began, mut looks) = (Instant::now(), tokio::time::interval(Duration::from_millis(10)));
        loop {
            looks.tick().await;
            let status = self.status(job).await;
            if fits(&status) {
                return status;
            }
            assert!(began.elapsed() < super::PATIENCE, "still {status}");
        }
    }

    pub async fn ended(&self, job: &str) -> Value {
        self.until(job, is_final).await
    }

    /// All that `requests` lists, in pages.
    pub async fn listed(&self, query: &str) -> Vec<Value> {
        let (mut all, mut before) = (Vec::new(), String::new());
        loop {
            let page = self.get(&format!("requests?{query}{before}")).await.json();
            all.extend(page["requests"].as_array().unwrap_or_else(|| panic!("{page}")).iter().cloned());
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return all,
            }
        }
    }

    /// The jobs that killed their workers.
    pub async fn dead(&self) -> Vec<Value> {
        self.get("dead").await.json()["dead"].as_array().unwrap().clone()
    }
}

/// The id that `run` answered.
pub fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["id"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Whether a job's state is one that it stays in.
pub fn is_final(job: &Value) -> bool {
    ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"].contains(&job["status"].as_str().unwrap_or_default())
}

/// The body of `run` for one of several functions.
pub fn input_for(function: &str, mut input: Value) -> Value {
    input["__flash"] = json!({ "function": function });
    json!({ "input": input })
}
