//! What is kept of a schedule while no platform runs.
use flash_protocol::{Schedule, wire::job::JobStatus};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The state of a function's schedule, as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// The schedule that the times below belong to.
    cron: String,
    timezone: String,
    /// All times up to this one are dealt with; milliseconds since 1970.
    handled_until_ms: i64,
    #[serde(default)]
    pub is_paused: bool,
    #[serde(default)]
    pub last: Option<Run>,
}

/// A run of a scheduled function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Run {
    pub worker: String,
    pub job: String,
    pub cause: Cause,
    /// When its job was submitted, in milliseconds since 1970.
    pub started_ms: i64,
    pub progress: Progress,
}

/// Why a function ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Cause {
    /// This time, in milliseconds since 1970.
    Time(i64),
    /// Somebody asked.
    Asked,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Progress {
    /// It waits or runs.
    Open,
    Ended(JobStatus),
    /// Nobody knows its job any more.
    Gone,
}

impl Kept {
    /// Nothing has happened before this moment.
    pub(super) fn from_now(entry: &Schedule, now: Timestamp) -> Self {
        Self {
            cron: entry.cron.clone(),
            timezone: entry.timezone.clone(),
            handled_until_ms: now.as_millisecond(),
            is_paused: false,
            last: None,
        }
    }

    /// The function has another schedule from this moment on; a pause goes on.
    pub(super) fn with(&self, entry: &Schedule, now: Timestamp) -> Self {
        Self { is_paused: self.is_paused, last: self.last.clone(), ..Self::from_now(entry, now) }
    }

    /// Whether its times are those of this schedule.
    pub(super) fn is_of(&self, entry: &Schedule) -> bool {
        self.cron == entry.cron && self.timezone == entry.timezone
    }

    /// The times up to this one are dealt with.
    pub(super) fn handled_until(&self) -> Timestamp {
        // Out of range only in a damaged store.
        Timestamp::from_millisecond(self.handled_until_ms).unwrap_or(Timestamp::MAX)
    }

    pub(super) fn handle_until(&mut self, time: Timestamp) {
        self.handled_until_ms = time.as_millisecond();
    }

    /// Whether its last run has not ended.
    pub(super) fn is_running(&self) -> bool {
        self.last.as_ref().is_some_and(|run| run.progress == Progress::Open)
    }
}
