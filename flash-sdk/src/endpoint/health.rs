//! The numbers that an endpoint reports about itself.
use serde::Deserialize;

/// The jobs and workers of an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Health {
    /// Its jobs.
    pub jobs: JobCounts,
    /// Its workers.
    pub workers: WorkerCounts,
}

/// Number of jobs by status. A count that the endpoint does not report is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[non_exhaustive]
pub struct JobCounts {
    /// Ended with a result.
    pub completed: u64,
    /// Ended with an error.
    pub failed: u64,
    /// At this moment.
    pub in_progress: u64,
    /// At this moment.
    pub in_queue: u64,
    /// Started again on another worker.
    pub retried: u64,
}

/// Number of workers by state. A count that the endpoint does not report is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WorkerCounts {
    /// Ready, without work.
    pub idle: u64,
    /// Starting.
    pub initializing: u64,
    /// Able to take work, including idle ones.
    pub ready: u64,
    /// Working.
    pub running: u64,
    /// Delayed by missing hardware or by crashes.
    pub throttled: u64,
    /// Not responding, or failing the health check.
    pub unhealthy: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_are_missing_are_zero() {
        let health: Health =
            serde_json::from_str(r#"{"jobs":{"inQueue":2},"workers":{"idle":1,"new":3}}"#).unwrap();
        assert_eq!((health.jobs.in_queue, health.jobs.failed, health.workers.idle), (2, 0, 1));
    }
}
