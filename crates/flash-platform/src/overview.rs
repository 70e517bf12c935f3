//! The current state of a platform, for display.
use std::collections::BTreeMap;

use flash_protocol::{Generations, GpuStatus, ModelLoad, manifest::EndpointKind};

use super::{
    pool::{Counts, Pool, WorkerUsage},
    tally::{BatchSums, Problem},
};

/// A platform at this moment.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// The number of the live release.
    pub live: Option<u64>,
    /// Worker types of the live release, by name. Counts are for its own workers and jobs.
    pub workers: Vec<TypeOverview>,
    /// Releases that still finish work, the latest first.
    pub draining: Vec<u64>,
    /// Stored jobs that cannot be read.
    pub set_aside: usize,
    /// `None` where it does not run.
    pub job_memory: Option<JobMemory>,
    /// The GPUs of the machine, once a worker needed one, where they were asked for.
    pub gpus: Vec<GpuStatus>,
}

/// The memory used by the jobs of a platform, including those of replaced releases.
#[derive(Debug, Clone, Copy)]
pub struct JobMemory {
    pub held_bytes: u64,
    /// Past this, new jobs are refused.
    pub limit_bytes: u64,
}

/// A worker type at this moment.
#[derive(Debug, Clone)]
pub struct TypeOverview {
    /// As in the manifest.
    pub name: String,
    /// Whether it has a queue or gets requests directly.
    pub kind: EndpointKind,
    /// Such as `CPU cpu3g-2-8`.
    pub compute: String,
    /// The number of workers that run even without work.
    pub workers_min: u32,
    /// The largest number of workers.
    pub workers_max: u32,
    /// Its workers by state.
    pub counts: Counts,
    /// What one of its starting workers waits for, a GPU or a place in the cluster, with the figures.
    pub waits_for: Option<String>,
    /// Jobs or requests that wait.
    pub waiting: u64,
    /// Jobs or requests that workers have now.
    pub running: u64,
    /// Since the platform started, in all releases.
    pub completed: u64,
    /// Over the same time, including jobs that timed out; cancelled ones count in neither.
    pub failed: u64,
    /// The batches of its functions, by name, over the same time. Functions that had none are left out.
    pub batches: Vec<(String, BatchSums)>,
    /// What its models did over the same time, by name. Models that did nothing are left out.
    pub models: Vec<(String, Generations)>,
    /// What the models of its workers have to do now, by name.
    pub model_loads: BTreeMap<String, ModelLoad>,
    /// What its workers take of the machine, by ID, as it was measured last. Those that were not measured yet are left out.
    pub usages: Vec<(String, WorkerUsage)>,
    /// What the worker that has been starting the longest says that it does.
    pub loading: Option<String>,
    /// The latest, the newest first; five at most.
    pub last_errors: Vec<Problem>,
}

/// A worker type at this moment.
pub(crate) fn type_overview(pool: &Pool) -> TypeOverview {
    let load = pool.load();
    let (completed, failed) = pool.tally().endings();
    let worker_type = &pool.worker_type;
    let (workers_min, workers_max) = pool.limits();
    TypeOverview {
        name: worker_type.name.clone(),
        kind: worker_type.kind,
        compute: worker_type.compute.label(),
        workers_min,
        workers_max,
        counts: pool.counts(),
        waits_for: pool.waits_for(),
        waiting: (load.waiting + load.low_priority + load.delayed) as u64,
        running: load.running as u64,
        completed,
        failed,
        batches: pool.tally().batches(),
        models: pool.tally().models(),
        model_loads: pool.model_loads(),
        usages: pool.usages(),
        loading: pool.loading(),
        last_errors: pool.tally().problems(),
    }
}
