//! The current state of an environment.
use std::collections::BTreeMap;

use flash_protocol::{GpuStatus, catalogue::NanoDollars, manifest::EndpointKind};
use serde::{Deserialize, Serialize};

use super::EnvironmentId;

/// An environment's current state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its app and name.
    pub id: EnvironmentId,
    /// The address of its routes; `None` if each endpoint has an address of its own.
    pub url: Option<String>,
    /// Which release answers requests, or why none does.
    pub serving: Serving,
    /// By name.
    pub workers: Vec<WorkerStatus>,
    /// Earlier releases that still finish work.
    pub draining: Vec<u64>,
    /// Stored data that cannot be read; everything else continues.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// Since the environment was made; in a cloud, in the last thirty days. `None` if it is not known now.
    pub cost: Option<NanoDollars>,
    /// The memory held by jobs; `None` if the target does not report it.
    #[serde(default)]
    pub job_memory: Option<JobMemory>,
    /// The GPUs of the machine, once a worker needed one; empty where there are none, or the target does not report them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuStatus>,
}

/// The memory held by an environment's jobs: inputs, kept results, chunks not fetched yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMemory {
    /// Used now, including by jobs of replaced releases.
    pub held_bytes: u64,
    /// Above this, new jobs are rejected with 429.
    pub limit_bytes: u64,
}

/// Whether requests are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Serving {
    /// This release answers them.
    Live {
        /// Its number.
        release: u64,
    },
    /// Nothing has been sent yet, or everything was undeployed.
    Empty,
    /// A release should be live and is not: its port is in use, or its artifact is damaged.
    Down {
        /// Its number.
        release: u64,
        /// Why it is not live, for people.
        reason: String,
    },
}

/// The current state of a worker type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// As in the manifest.
    pub name: String,
    /// Whether it has a queue or gets requests directly.
    pub kind: EndpointKind,
    /// Such as `CPU cpu3g-2-8`.
    pub compute: String,
    /// The number of workers that run even without work.
    pub workers_min: u32,
    /// The largest number of workers.
    pub workers_max: u32,
    /// Its workers now, by state.
    pub workers: WorkerCounts,
    /// What one of its starting workers waits for, such as a GPU or a place in the cluster, with the figures: `waits for a
    /// GPU: …`. `None` if none waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Waiting jobs or requests.
    pub waiting: u64,
    /// Jobs or requests that workers have now.
    pub running: u64,
    /// Since the service started.
    pub completed: u64,
    /// Over the same time as `completed`.
    pub failed: u64,
    /// The most recent errors, newest first; five at most.
    pub last_errors: Vec<LastError>,
    /// The batches of its functions over the same time as `completed`; only of those that had any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<FunctionBatches>,
    /// Its models: what they do now, and what they did over the same time as `completed`. Only those that had work.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelStatus>,
    /// What the worker that has been starting the longest says that it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading: Option<String>,
    /// What each of its workers takes of the machine, as it was measured last; only of processes, and only where the
    /// target reports it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub usage: Vec<WorkerUsage>,
    /// Over the same time as [`Status::cost`].
    pub cost: Option<NanoDollars>,
}

/// What the processes of a worker take of the machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerUsage {
    /// Its ID.
    pub worker: String,
    /// How many cores they kept busy, over the last seconds.
    pub cores: f64,
    /// Resident memory, with what they share.
    pub memory_bytes: u64,
}

/// The batches of a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionBatches {
    /// As callers name it.
    pub function: String,
    /// Batches. A call that ran again alone is a batch of its own.
    pub batches: u64,
    /// Calls in them.
    pub calls: u64,
    /// The costs of these calls, as the function's `cost` computes them, or one each.
    pub cost: u64,
    /// Seconds from the start of each job until it was in the line: the sum over all calls.
    pub prepare_seconds: f64,
    /// Seconds in the line: the sum over all calls.
    pub wait_seconds: f64,
    /// Seconds that the batches ran, each counted once.
    pub run_seconds: f64,
}

/// A model behind OpenAI's API.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelStatus {
    /// As clients name it.
    pub model: String,
    /// Answers that it computes now.
    pub running: u64,
    /// Answers that wait for it now.
    pub waiting: u64,
    /// Answers and embeddings that ended, by how: `stop`, `length`, `abort` or `error`.
    pub answers: BTreeMap<String, u64>,
    /// Tokens of prompts and of embedded texts.
    pub prompt_tokens: u64,
    /// Those of them that it knew already.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub generated_tokens: u64,
    /// Seconds from a request until the model began with it: the average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_seconds: Option<f64>,
    /// Seconds from a request until its first token: the average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_token_seconds: Option<f64>,
    /// Seconds between two tokens of an answer: the average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub between_tokens_seconds: Option<f64>,
    /// Seconds from a request until the end of its answer: the average.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_seconds: Option<f64>,
}

/// Workers by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCounts {
    /// Started, and not ready yet.
    pub starting: u32,
    /// Seconds since the start of the one that has been starting the longest; `None` if none is, or it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loading_seconds: Option<u64>,
    /// Ready and without work.
    pub idle: u32,
    /// Ready and with at least one job or request.
    pub busy: u32,
    /// Ending; they may still finish work.
    pub stopping: u32,
    /// Silent, or failing their health check.
    pub unhealthy: u32,
    /// Held back by crashes of the same worker type.
    pub throttled: u32,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    /// When it happened, in milliseconds since 1970; if the target does not know, when it was seen.
    pub time_ms: u64,
    /// What went wrong, for people.
    pub message: String,
    /// The request that failed, if there was one.
    pub request_id: Option<String>,
    /// The ID of the worker, if there was one.
    pub worker: Option<String>,
}
