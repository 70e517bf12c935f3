//! One platform being measured: starts, queries and kills it.
use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::Method;
use serde_json::Value;

use super::{
    super::{
        load::{self, Target},
        programs::{self, Artifact},
        server::Server,
    },
    machine,
};
use crate::{failure::Failure, workspace};

const APP: &str = "xtask/bench/platform";
/// The limit of every wait.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// About a hundred bytes including its envelope.
const INPUT: &str = r#"{"text":"sixty-four bytes of a text that says nothing and is not read at all!"}"#;

/// See the module.
pub(super) struct Platform {
    server: Server,
    pub process: u32,
    /// From its start until it reported ready.
    pub ready_after: Duration,
}

/// Counters of one worker type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jobs {
    pub completed: u64,
    pub waiting: u64,
    pub running: u64,
}

impl Platform {
    /// Starts a platform with these options, on the state of the last one.
    pub(super) async fn start(options: &[&str]) -> Result<Self, Failure> {
        let python = workspace::target().join("test-python").join("bin");
        let began = Instant::now();
        let server = programs::start_app(APP, Artifact::Sources, options, Some(&python)).await?;
        let ready_after = began.elapsed();
        let process = server.process().ok_or_else(|| Failure::new("the platform ended at once"))?;
        Ok(Self { server, process, ready_after })
    }

    /// Kills it with SIGKILL.
    pub(super) async fn kill(self) -> Result<(), Failure> {
        self.server.kill().await
    }

    pub(super) fn resident_mb(&self) -> Result<f64, Failure> {
        machine::resident_mb(self.process)
            .ok_or_else(|| Failure::new(format!("/proc/{}/status has no VmRSS", self.process)))
    }

    /// Jobs of normal priority for a worker type: `run`, `runsync`.
    pub(super) fn jobs(&self, name: &'static str, worker: &str, operation: &str) -> Target {
        let expected = match operation {
            "run" => r#""status":"IN_QUEUE""#,
            _ => r#""status":"COMPLETED""#,
        };
        let path = format!("/v2/{worker}/{operation}");
        self.target(name, Method::POST, path, format!(r#"{{"input":{INPUT}}}"#), expected)
    }

    /// `run` of jobs that start no worker.
    pub(super) fn low_priority_jobs(&self, name: &'static str, worker: &str) -> Target {
        let body = format!(r#"{{"input":{INPUT},"policy":{{"lowPriority":true}}}}"#);
        self.target(name, Method::POST, format!("/v2/{worker}/run"), body, r#""status":"IN_QUEUE""#)
    }

    pub(super) fn status(&self, worker: &str, id: &str, expected: &'static str) -> Target {
        let path = format!("/v2/{worker}/status/{id}");
        self.target("status", Method::GET, path, String::new(), expected)
    }

    pub(super) fn stream(&self, worker: &str, id: &str) -> Target {
        let path = format!("/v2/{worker}/stream/{id}?wait=90000");
        self.target("stream", Method::GET, path, String::new(), r#""stream""#)
    }

    fn target(
        &self,
        name: &'static str,
        method: Method,
        path: String,
        body: String,
        expected: &'static str,
    ) -> Target {
        Target { name, address: self.server.address, method, path, body: Bytes::from(body), expected }
    }

    /// Queries the counters of a worker type.
    pub(super) async fn health(&self, worker: &str) -> Result<Jobs, Failure> {
        let path = format!("/v2/{worker}/health");
        let health = self.target("health", Method::GET, path, String::new(), r#""jobs""#);
        let (body, _) = load::once(&health).await?;
        let answer: Value = serde_json::from_slice(&body).map_err(Failure::at("health"))?;
        let number = |name: &str| answer["jobs"][name].as_u64();
        match (number("completed"), number("inQueue"), number("inProgress")) {
            (Some(completed), Some(waiting), Some(running)) => Ok(Jobs { completed, waiting, running }),
            _ => Err(Failure::new(format!("health of {worker} answered {answer}"))),
        }
    }

    /// Polls the counters until they match.
    pub(super) async fn until(
        &self,
        worker: &str,
        what: &str,
        wanted: impl Fn(Jobs) -> bool,
    ) -> Result<Jobs, Failure> {
        let until = Instant::now() + PATIENCE;
        loop {
            let jobs = self.health(worker).await?;
            match jobs {
                jobs if wanted(jobs) => return Ok(jobs),
                jobs if Instant::now() > until => {
                    let seconds = PATIENCE.as_secs();
                    return Err(Failure::new(format!("{worker}: not {what} within {seconds} s: {jobs:?}")));
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Removes waiting jobs and lets the others end, so that the next measurement starts clean.
    pub(super) async fn clear(&self, worker: &str) -> Result<(), Failure> {
        let path = format!("/v2/{worker}/purge-queue");
        load::once(&self.target("purge-queue", Method::POST, path, String::new(), r#""completed""#)).await?;
        self.until(worker, "empty", |jobs| jobs.waiting + jobs.running == 0).await.map(|_| ())
    }
}

/// Removes the jobs that a platform with `--keep` left.
pub(super) fn forget_jobs() -> Result<(), Failure> {
    let state: PathBuf = workspace::root().join(APP).join(".flash").join("state");
    match fs::remove_dir_all(&state) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("cannot remove {}: {error}", state.display())))
        }
        _ => Ok(()),
    }
}
