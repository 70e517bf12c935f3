//! The numbers of one worker type at one moment.
use flash_protocol::{Generations, ModelLoad};

use crate::{
    pool::{Counts, Pool},
    tally::BatchClasses,
};

/// The numbers of a worker type of the live release. Counts are since the platform started, in all releases.
#[derive(Debug, Default)]
pub(crate) struct TypeNumbers {
    pub worker_type: String,
    pub counts: Counts,
    /// Jobs or requests that wait, and that workers have.
    pub waiting: u64,
    pub running: u64,
    pub completed: u64,
    pub failed: u64,
    /// By function.
    pub batches: Vec<(String, BatchClasses)>,
    /// By model.
    pub models: Vec<(String, Generations)>,
    /// By model, of all workers together.
    pub loads: Vec<(String, ModelLoad)>,
}

impl TypeNumbers {
    pub(crate) fn of(pool: &Pool) -> Self {
        let load = pool.load();
        let tally = pool.tally();
        let (completed, failed) = tally.endings();
        Self {
            worker_type: pool.worker_type.name.clone(),
            counts: pool.counts(),
            waiting: (load.waiting + load.low_priority + load.delayed) as u64,
            running: load.running as u64,
            completed,
            failed,
            batches: tally.batch_classes(),
            models: tally.models(),
            loads: pool.model_loads().into_iter().collect(),
        }
    }
}
