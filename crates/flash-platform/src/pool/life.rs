//! The life of a worker, for display.
use std::time::Instant;

use super::usage::WorkerUsage;
use crate::{hops::now_ms, worker_id::WorkerId};

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Starting,
    Idle,
    Busy,
    Stopping,
    /// It was asked to end, and did.
    Ended,
    /// It ended by itself.
    Crashed,
}

/// The life of a worker. Times are milliseconds since 1970.
#[derive(Debug, Clone)]
pub(crate) struct WorkerLife {
    pub id: WorkerId,
    pub doing: Doing,
    pub started_ms: u64,
    pub ready_ms: Option<u64>,
    /// When it ended, and how.
    pub ended: Option<(u64, String)>,
    /// Jobs or requests that it has.
    pub running: usize,
    /// What it says that it does, or waits for, while it starts.
    pub loading: Option<String>,
    /// What it takes of the machine, once that was measured.
    pub usage: Option<WorkerUsage>,
    /// Of its stderr, oldest first.
    pub last_lines: Vec<String>,
}

/// When this was, in milliseconds since 1970.
pub(super) fn wall_ms(at: Instant) -> u64 {
    now_ms().saturating_sub(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
}
