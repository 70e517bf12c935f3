//! How busy a queue or balancer is, for the pool of its workers.
use std::time::{Duration, Instant};

use crate::worker_id::WorkerId;

/// How busy the queue is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Jobs of normal priority that wait.
    pub waiting: usize,
    /// Jobs of low priority that wait: no reason to start a worker.
    pub low_priority: usize,
    pub oldest_wait: Duration,
    /// Jobs between two attempts: no reason to start a worker either.
    pub delayed: usize,
    /// How many of `waiting` are of a fan-out, at most.
    pub fanned_out: usize,
    pub running: usize,
    /// Of these, how many have low priority.
    pub low_priority_running: usize,
    /// Jobs on each consumer, and since when one without jobs has had none.
    pub consumers: Vec<(WorkerId, usize, Option<Instant>)>,
}

/// A worker that holds a stopped job and does not release it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stuck {
    pub worker: WorkerId,
    /// Since it was asked to stop.
    pub stopping_for: Duration,
}
