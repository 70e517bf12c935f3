//! The limits of a queue.
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use flash_protocol::{Lifetime, Retries};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Jobs that may wait; more are refused.
    pub max_waiting: usize,
    /// How long one attempt may run by default.
    pub execution_timeout: Duration,
    /// How long a job may take from submission to its end by default.
    pub ttl: Duration,
    /// Attempts that a job gets when its workers die.
    pub max_attempts: u32,
    /// How often a function runs again after a retryable error, by its name; none for a function that is not here.
    pub retries: Arc<BTreeMap<String, Retries>>,
    /// How many jobs a worker gets before another one gets any: its batch, which is cheapest when it is full.
    pub batch: Option<usize>,
    /// Functions whose jobs share the time of their batch by cost.
    pub weighed: Arc<BTreeSet<String>>,
    /// How many jobs a worker takes.
    pub lifetime: Lifetime,
    /// For how long the result of `run` is kept.
    pub keep_async: Duration,
    /// For how long a result that a client waited for is kept.
    pub keep_sync: Duration,
    /// How many results that a client waited for are kept at most; the oldest go first.
    pub max_kept_sync: usize,
    /// For how long a job that killed its workers is kept.
    pub keep_dead: Duration,
    /// How many of them are kept at most; the oldest go first.
    pub max_dead: usize,
    /// For how long a stopped job may hold its worker before the worker is ended.
    pub stop_grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            max_waiting: 2_000_000,
            execution_timeout: Duration::from_secs(600),
            ttl: 24 * HOUR,
            max_attempts: 3,
            retries: Arc::default(),
            batch: None,
            weighed: Arc::default(),
            lifetime: Lifetime::ManyJobs,
            keep_async: HOUR / 2,
            keep_sync: HOUR / 60,
            max_kept_sync: 10_000,
            keep_dead: 7 * 24 * HOUR,
            max_dead: 10_000,
            stop_grace: Duration::from_millis(250),
        }
    }
}
