//! The numbers of a platform at one moment.
use std::{collections::BTreeMap, sync::Arc};

use flash_protocol::{Generations, GpuStatus, ModelLoad, app_metrics::SeriesId};

use super::process::ProcessNumbers;
use crate::{
    app_metrics::{Gauges, Summed},
    meter::{OTHERS, TypeBill},
    overview::JobMemory,
    pool::{Counts, Pool, WorkSource},
    queue::Load,
    tally::{BatchClasses, Calls, Times},
    worker_id::WorkerId,
};

/// The numbers of a platform. Counts are since it started.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    /// The number of the live release.
    pub live: Option<u64>,
    /// Worker types of the live release.
    pub types: Vec<TypeNumbers>,
    /// Of all worker types that ever were.
    pub bills: BTreeMap<Arc<str>, TypeBill>,
    pub job_memory: Option<JobMemory>,
    /// Those of the machine, once a worker needed one.
    pub gpus: Vec<GpuStatus>,
    /// POSTs of webhooks by outcome.
    pub posts: Vec<(&'static str, u64)>,
    /// `None` where it is not known.
    pub process: Option<ProcessNumbers>,
}

/// The numbers of a worker type of the live release. Counts are since the platform started, in all releases.
#[derive(Debug, Default)]
pub(crate) struct TypeNumbers {
    pub worker_type: String,
    /// Its workers by state.
    pub counts: Counts,
    /// The largest number of workers.
    pub workers_max: u32,
    /// What waits, and what workers have.
    pub load: Load,
    pub completed: u64,
    pub failed: u64,
    /// By function; `*` is everything that belongs to none.
    pub functions: Vec<(String, Calls)>,
    pub times: Times,
    /// Workers that ended unasked.
    pub crashed: u64,
    /// Requests by the class of the answer's status; empty for a worker type with a queue.
    pub answers: Vec<(&'static str, u64)>,
    /// By function.
    pub batches: Vec<(String, BatchClasses)>,
    /// By model.
    pub models: Vec<(String, Generations)>,
    /// By model, of all workers together.
    pub model_loads: Vec<(String, ModelLoad)>,
    /// The app's own counters and histograms.
    pub app_sums: Vec<(SeriesId, Summed)>,
    /// The app's own gauges, by worker.
    pub app_gauges: Vec<(WorkerId, Gauges)>,
}

impl TypeNumbers {
    pub(crate) fn of(pool: &Pool) -> Self {
        let tally = pool.tally();
        let (completed, failed) = tally.endings();
        let answers = match pool.source {
            WorkSource::Balanced(_) => tally.answers.all().to_vec(),
            WorkSource::Queue(_) => Vec::new(),
        };
        Self {
            worker_type: pool.worker_type.name.clone(),
            counts: pool.counts(),
            workers_max: pool.limits().1,
            load: pool.load(),
            completed,
            failed,
            functions: tally.calls_of_all(OTHERS),
            times: tally.times(),
            crashed: tally.crashed(),
            answers,
            batches: tally.batch_classes(),
            models: tally.models(),
            model_loads: pool.model_loads().into_iter().collect(),
            app_sums: tally.app.sums(),
            app_gauges: pool.gauges(),
        }
    }

    /// All that waits, of all priorities, and what waits for its next attempt.
    pub(super) fn waiting(&self) -> u64 {
        (self.load.waiting + self.load.low_priority + self.load.delayed) as u64
    }
}
