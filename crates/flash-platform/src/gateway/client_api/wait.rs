//! How long a client wants to wait for a job.
use std::time::Duration;

use serde::Deserialize;

/// How long `runsync` holds, in milliseconds: least, default, most.
pub(super) const WAIT: (u64, u64, u64) = (1_000, 90_000, 300_000);

/// The query of an operation that waits.
#[derive(Deserialize)]
pub(in super::super) struct Wait {
    /// Milliseconds.
    pub wait: Option<u64>,
}

impl Wait {
    /// The wait that the client requests, within the bounds of `runsync`.
    pub(super) fn bounded(&self) -> Duration {
        Duration::from_millis(self.wait.unwrap_or(WAIT.1).clamp(WAIT.0, WAIT.2))
    }
}
