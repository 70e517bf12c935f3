//! The current state of an environment.
use flash_protocol::{catalogue::NanoDollars, manifest::EndpointKind};
use serde::{Deserialize, Serialize};

use super::EnvironmentId;

/// An environment's current state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub id: EnvironmentId,
    pub url: Option<String>,
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
}

/// The memory held by an environment's jobs: inputs, kept results, chunks not fetched yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMemory {
    pub held_bytes: u64,
    /// Above this, new jobs are rejected with 429.
    pub limit_bytes: u64,
}

/// Whether requests are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Serving {
    /// This release answers them.
    Live { release: u64 },
    /// Nothing has been sent yet, or everything was undeployed.
    Empty,
    /// A release should be live and is not: its port is in use, or its artifact is damaged.
    Down { release: u64, reason: String },
}

/// The current state of a worker type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub name: String,
    pub kind: EndpointKind,
    /// Such as `CPU cpu3g-2-8`.
    pub compute: String,
    pub workers_min: u32,
    pub workers_max: u32,
    pub workers: WorkerCounts,
    /// Waiting jobs or requests.
    pub waiting: u64,
    pub running: u64,
    /// Since the service started.
    pub completed: u64,
    pub failed: u64,
    /// The most recent errors, newest first; five at most.
    pub last_errors: Vec<LastError>,
    /// Since the environment was made.
    pub cost: Option<NanoDollars>,
}

/// Workers by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCounts {
    pub starting: u32,
    pub idle: u32,
    pub busy: u32,
    pub stopping: u32,
    /// Silent, or failing their health check.
    pub unhealthy: u32,
    /// Held back by crashes of the same worker type.
    pub throttled: u32,
}

/// An error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastError {
    pub time_ms: u64,
    pub message: String,
    pub request_id: Option<String>,
    pub worker: Option<String>,
}
