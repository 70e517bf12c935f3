//! How large a batch may be, and how long it may gather.
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits of the batches of one method: `#[batch(max = 32, budget = 4096, cost = …, padded, wait_ms = 0)]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLimits {
    /// Calls in a batch: 1 to 5,000.
    pub max: u32,
    /// The cost of a batch: `None` for no limit. A call that costs more runs alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<u64>,
    /// Whether each call costs as much as the most expensive one in its batch, as when a model pads its inputs.
    #[serde(default)]
    pub padded: bool,
    /// How long the first call of a batch waits for others while nothing runs, in milliseconds.
    #[serde(default)]
    pub wait_ms: u32,
    /// Whether each call has a cost of its own (`cost = …`), by which the calls of a batch share its time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weighed: bool,
}

/// What the call of a job was in its batch, for logs and counts. Times are in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchRun {
    /// Calls that ran together.
    pub size: u32,
    /// The cost of this call; 1 if the function has no `cost`.
    pub cost: u64,
    /// The cost of all of them.
    pub total_cost: u64,
    /// Whether it is the first of its batch. Batches are counted by these.
    pub leads: bool,
    /// From the start of the job until its item was in the line: `prepare`, `cost`, and the wait for the value.
    pub prepare_us: u64,
    /// In the line.
    pub wait_us: u64,
    /// That the batch ran.
    pub run_us: u64,
}

impl BatchLimits {
    /// How long the first call of a batch waits for others while nothing runs.
    pub const fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms as u64)
    }

    /// Whether a batch of this many calls may cost this much. `most` is the cost of the most expensive call, `sum` that
    /// of all.
    pub fn allow(&self, calls: usize, most: u64, sum: u64) -> bool {
        let cost = if self.padded { most.saturating_mul(calls as u64) } else { sum };
        calls <= self.max as usize && self.budget.is_none_or(|budget| cost <= budget)
    }
}
