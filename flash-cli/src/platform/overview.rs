//! What a platform does at this moment, for whoever shows it.
use std::{collections::BTreeMap, time::SystemTime};

use flash_sdk::manifest::EndpointKind;

use super::Platform;

/// A platform at this moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Overview {
    /// The number of the live release.
    pub live: Option<u64>,
    /// Worker types of the live release, by name; counts are those of its own workers and jobs.
    pub workers: Vec<TypeOverview>,
    /// Releases that still finish work, the latest first.
    pub draining: Vec<u64>,
}

/// A worker type at this moment.
#[derive(Debug, Clone)]
pub(crate) struct TypeOverview {
    pub name: String,
    pub kind: EndpointKind,
    /// Such as `CPU cpu3g-2-8`.
    pub compute: String,
    pub workers_min: u32,
    pub workers_max: u32,
    pub counts: Counts,
    /// Jobs or requests that wait.
    pub waiting: u64,
    pub running: u64,
    /// Since the platform started, in all releases.
    pub completed: u64,
    pub failed: u64,
    /// The latest, the newest first; five at most.
    pub last_errors: Vec<Problem>,
}

/// Workers by what they do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub starting: u32,
    pub idle: u32,
    pub busy: u32,
    pub stopping: u32,
    /// Down, because they crash in a row.
    pub unhealthy: u32,
    /// Asked for by the load, and held back for a moment after a crash.
    pub throttled: u32,
}

/// Something that went wrong: a job that failed, a worker that crashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub time: SystemTime,
    pub message: String,
    pub request_id: Option<String>,
    pub worker: Option<String>,
}

impl Platform {
    /// For those who look.
    pub(crate) fn overview(&self) -> Overview {
        let _ = BTreeMap::<(), ()>::new();
        Overview::default()
    }
}
