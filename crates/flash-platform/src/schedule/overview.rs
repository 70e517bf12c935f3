//! What others see of schedules.
use flash_protocol::{Schedule, wire::job::JobStatus};

/// A scheduled function of the live release.
#[derive(Debug, Clone)]
pub struct ScheduleOverview {
    /// `function` or `Type::method`.
    pub function: String,
    /// The worker type that it runs on.
    pub worker: String,
    /// When it runs.
    pub schedule: Schedule,
    /// Its next time, in milliseconds since 1970; `None` while it is paused, and where no time is left.
    pub next_ms: Option<i64>,
    /// Whether its times pass without a run.
    pub is_paused: bool,
    /// Its last run; `None` before the first.
    pub last: Option<ScheduleRun>,
    /// Why it cannot run now; `None` if it can.
    pub problem: Option<String>,
}

/// A run of a scheduled function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleRun {
    /// The ID of its job.
    pub job: String,
    /// The time it ran for, in milliseconds since 1970; `None` if somebody asked for it.
    pub scheduled_ms: Option<i64>,
    /// When its job was submitted, in milliseconds since 1970.
    pub started_ms: i64,
    /// How its job ended; `None` while it has not, and where that is not known any more.
    pub ended: Option<JobStatus>,
    /// Whether its job waits or runs.
    pub is_running: bool,
}

/// Why a schedule does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// No release is live.
    #[error("nothing is live, so nothing is scheduled")]
    NothingLive,
    /// The live release has no such schedule.
    #[error("the live release has no scheduled function `{name}`")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Those it has.
        known: Vec<String>,
    },
    /// Its job is not accepted now.
    #[error("the job of `{name}` is not accepted: {reason}")]
    Refused {
        /// The function.
        name: String,
        /// Why.
        reason: String,
    },
}
