//! What an environment does at this moment.
use flash_sdk::{catalogue::NanoDollars, manifest::EndpointKind};
use serde::{Deserialize, Serialize};

use super::EnvironmentId;

/// An environment at this moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub id: EnvironmentId,
    pub url: Option<String>,
    pub serving: Serving,
    /// By name.
    pub workers: Vec<WorkerStatus>,
    /// Releases before the live one that still finish work.
    pub draining: Vec<u64>,
    /// What is stored of it and cannot be read; all else goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
    /// Since the environment was made, in a cloud in the last thirty days; `None` where that cannot be told now.
    pub cost: Option<NanoDollars>,
    /// What jobs hold; `None` where the target does not tell.
    #[serde(default)]
    pub job_memory: Option<JobMemory>,
}

/// What the jobs of an environment hold in memory: inputs, results that are kept, chunks that nobody fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobMemory {
    pub held_bytes: u64,
    /// Past this, new jobs are refused with 429.
    pub limit_bytes: u64,
}

/// Whether requests are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Serving {
    /// By this release.
    Live { release: u64 },
    /// Nothing has been sent yet, or all was undeployed.
    Empty,
    /// A release should be live and is not: its port is taken, its artifact damaged.
    Down { release: u64, reason: String },
}

/// A worker type at this moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerStatus {
    pub name: String,
    pub kind: EndpointKind,
    /// Such as `CPU cpu3g-2-8`.
    pub compute: String,
    pub workers_min: u32,
    pub workers_max: u32,
    pub workers: WorkerCounts,
    /// Jobs or requests that wait.
    pub waiting: u64,
    pub running: u64,
    /// Since the service started.
    pub completed: u64,
    pub failed: u64,
    /// The latest, the newest first; five at most.
    pub last_errors: Vec<LastError>,
    /// Since the environment was made.
    pub cost: Option<NanoDollars>,
}

/// Workers by what they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerCounts {
    pub starting: u32,
    pub idle: u32,
    pub busy: u32,
    pub stopping: u32,
    /// Silent, or failing their health check.
    pub unhealthy: u32,
    /// Held back by crashes of their kind.
    pub throttled: u32,
}

/// Something that went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastError {
    pub time_ms: u64,
    pub message: String,
    pub request_id: Option<String>,
    pub worker: Option<String>,
}
