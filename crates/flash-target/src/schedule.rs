//! Functions that run at times of the clock.
use flash_protocol::{Schedule, wire::job::JobStatus};
use serde::{Deserialize, Serialize};

/// A scheduled function of the live release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduledFunction {
    /// `function` or `Type::method`.
    pub function: String,
    /// The worker type that it runs on.
    pub worker: String,
    /// When it runs.
    pub schedule: Schedule,
    /// Its next time, in milliseconds since 1970; `None` while it is paused, and where no time is left.
    pub next_ms: Option<u64>,
    /// Whether its times pass without a run.
    pub paused: bool,
    /// Its last run; `None` before the first.
    pub last: Option<ScheduledRun>,
    /// Why it cannot run now; `None` if it can.
    pub problem: Option<String>,
}

/// A run of a scheduled function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduledRun {
    /// The ID of its job.
    pub job: String,
    /// The time it ran for, in milliseconds since 1970; `None` if somebody asked for it.
    pub scheduled_ms: Option<u64>,
    /// When its job was submitted, in milliseconds since 1970.
    pub started_ms: u64,
    /// Whether its job waits or runs.
    pub running: bool,
    /// How its job ended; `None` while it has not, and where that is not known any more.
    pub ended: Option<JobStatus>,
}
