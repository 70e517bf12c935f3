//! Resource configurations: what a worker type runs on and how far it scales.
//!
//! The builders are `const`, so that a wrong configuration fails in `cargo check`. At run time, the platform reads
//! the same values from the manifest.
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::{
    catalogue::{CpuInstance, DataCenter, GpuPool, GpuType},
    model::{MAX_PATTERNS, ModelSource, pattern_problem, reference_problem},
};

/// The hardware of a worker type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compute {
    /// CPU instances, in order of preference. Any of them is accepted.
    Cpu(&'static [CpuInstance]),
    /// GPU pools and single GPU types. Any of them is accepted.
    Gpu {
        /// Pools, in order of preference.
        pools: &'static [GpuPool],
        /// Single GPU types, in addition to the pools.
        types: &'static [GpuType],
        /// GPUs per worker.
        count: u32,
    },
}

/// How the number of workers follows the load. These are the two scalers of Runpod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scaler {
    /// Adds a worker whenever a job has waited this many seconds.
    QueueDelay {
        /// Seconds, 1 or more.
        seconds: u32,
    },
    /// Runs `ceil((queued + in progress) / requests)` workers.
    RequestCount {
        /// Requests per worker, 1 or more.
        requests: u32,
    },
}

/// How many jobs a worker takes in its life.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// As many as come.
    #[default]
    ManyJobs,
    /// One: a task.
    OneJob,
}

impl Lifetime {
    /// Whether it is the default.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A worker type: name, hardware, scaling and timeouts.
///
/// ```
/// use flash_sdk::{CpuInstance, ResourceConfig};
///
/// const PIPELINE: ResourceConfig =
///     ResourceConfig::new("classify_pipeline").cpu(CpuInstance::Cpu3c_1_2).workers(1..=3);
/// assert_eq!(PIPELINE.workers_max, 3);
/// ```
///
/// | setting | default | limits |
/// |---|---|---|
/// | workers | 0 to 3 | at most 1000 |
/// | idle timeout | 5 s | 1 to 3600 s |
/// | execution timeout | 600 s | 1 s to 7 days |
/// | start timeout | 7 minutes on this machine, 15 on Runpod | 1 s to 1 day |
/// | concurrency of a worker | 1 for jobs, 64 for routes | 1 to 10,000 |
/// | disk | 20 GB with a GPU, 10 GB per vCPU without | 1 GB to 10 TB |
/// | shared memory | the container engine's: 64 MiB | 1 MiB to 1 TiB |
/// | memory on each GPU | not known | 1 GB to the memory of the GPUs |
/// | scaler | queue delay of 4 s for jobs, 4 requests per worker for routes | |
/// | buffer | 0 | at most 1000 |
/// | body of a request and of an answer | 30 MB | 1 to 10,240 MiB; only for routes and routers |
/// | time of a request | 330 s | 1 s to 7 days; only for routes and routers |
/// | model | none | `org/name@revision`, `path:DIR` or `volume:NAME/DIR`; at most 64 patterns of files |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceConfig {
    /// The name of the worker type: a letter, then letters, digits, `_` and `-`.
    pub name: &'static str,
    /// The hardware; `None` if another declaration of the same worker type sets it.
    pub compute: Option<Compute>,
    /// Minimum number of workers, kept running without load.
    pub workers_min: u32,
    /// Maximum number of workers.
    pub workers_max: u32,
    /// Seconds without work before a worker above the minimum stops.
    pub idle_timeout: u32,
    /// Maximum seconds per job.
    pub execution_timeout: u32,
    /// Seconds that a worker may take to become ready; `None` for the default of where it runs.
    pub start_timeout: Option<u32>,
    /// Jobs or requests that one worker runs at once; `None` for the default of its kind.
    pub max_concurrency: Option<u32>,
    /// How the number of workers follows the load; `None` for the default of its kind.
    pub scaler: Option<Scaler>,
    /// Idle workers beyond what the load needs, while there is load.
    pub buffer: u32,
    /// How many jobs a worker takes.
    pub lifetime: Lifetime,
    /// Data centers that it may run in; empty for any.
    pub data_centers: &'static [DataCenter],
    /// GB of disk of a worker; `None` for the provider's share.
    pub disk_gib: Option<u32>,
    /// MiB of `/dev/shm` in a worker's container; `None` for the engine's default.
    pub shm_mib: Option<u32>,
    /// GB of memory that a worker needs on each of its GPUs.
    pub vram_gib: Option<u32>,
    /// Maximum size of a body in MiB, in each direction; `None` for 30 MB.
    pub max_body_mib: Option<u32>,
    /// Maximum seconds of a request, or between two bytes of a stream; `None` for 330.
    pub request_timeout: Option<u32>,
    /// The model that its workers load.
    pub model: Option<ModelSource>,
}

impl ResourceConfig {
    /// Maximum number of workers of a worker type.
    pub const MAX_WORKERS: u32 = 1000;
    /// The longest idle timeout in seconds.
    pub const MAX_IDLE_TIMEOUT: u32 = 3600;
    /// The longest execution timeout in seconds: 7 days.
    pub const MAX_EXECUTION_TIMEOUT: u32 = 7 * 24 * 3600;
    /// The longest start timeout in seconds: a day.
    pub const MAX_START_TIMEOUT: u32 = 24 * 3600;
    /// Maximum number of jobs or requests that one worker runs at once.
    pub const MAX_CONCURRENCY: u32 = 10_000;
    /// Seconds that a task may run, unless it says otherwise: a day.
    pub const TASK_EXECUTION_TIMEOUT: u32 = 24 * 3600;
    /// Maximum number of GPUs of a worker.
    pub const MAX_GPUS: u32 = 8;
    /// The largest disk of a worker in GB. Providers have less.
    pub const MAX_DISK: u32 = 10_000;
    /// The largest shared memory of a worker in MiB: 1 TiB.
    pub const MAX_SHM: u32 = 1 << 20;
    /// The most memory of a GPU in GB.
    pub const MAX_VRAM: u32 = 180;
    /// The largest limit for a body, in MiB: 10 GiB.
    pub const MAX_BODY_MIB: u32 = 10 * 1024;
    /// The longest time of a request in seconds: 7 days.
    pub const MAX_REQUEST_TIMEOUT: u32 = 7 * 24 * 3600;

    /// Whether this is a valid name of a worker type: a letter, then letters, digits, `_` and `-`, at most 63
    /// characters.
    pub const fn is_name(name: &str) -> bool {
        is_name(name)
    }

    /// Creates a worker type with this name, all defaults and no hardware.
    ///
    /// # Panics
    /// In const evaluation, if the name is not valid (see [`is_name`](Self::is_name)).
    #[track_caller]
    pub const fn new(name: &'static str) -> Self {
        assert!(
            is_name(name),
            "the name of a worker type must be a letter, then letters, digits, `_` and `-`, at most 63 characters"
        );
        Self {
            name,
            compute: None,
            workers_min: 0,
            workers_max: 3,
            idle_timeout: 5,
            execution_timeout: 600,
            start_timeout: None,
            max_concurrency: None,
            scaler: None,
            buffer: 0,
            lifetime: Lifetime::ManyJobs,
            data_centers: &[],
            disk_gib: None,
            shm_mib: None,
            vram_gib: None,
            max_body_mib: None,
            request_timeout: None,
            model: None,
        }
    }

    /// Runs on this CPU instance.
    ///
    /// # Panics
    /// In const evaluation, if a GPU is already set.
    #[track_caller]
    pub const fn cpu(self, instance: CpuInstance) -> Self {
        // One static slice per instance, which a const builder can refer to.
        const fn alone(instance: CpuInstance) -> &'static [CpuInstance] {
            let mut at = 0;
            while at < CpuInstance::ALL.len() {
                if CpuInstance::ALL[at] as u32 == instance as u32 {
                    return CpuInstance::ALL.split_at(at).1.split_at(1).0;
                }
                at += 1;
            }
            &[]
        }
        self.cpus(alone(instance))
    }

    /// Runs on any of these CPU instances, in order of preference.
    ///
    /// # Panics
    /// In const evaluation, if the list is empty or a GPU is already set.
    #[track_caller]
    pub const fn cpus(mut self, instances: &'static [CpuInstance]) -> Self {
        assert!(!instances.is_empty(), "name at least one CPU instance");
        assert!(!matches!(self.compute, Some(Compute::Gpu { .. })), "a worker type is CPU or GPU, not both");
        self.compute = Some(Compute::Cpu(instances));
        self
    }

    /// Runs on a GPU of this pool.
    ///
    /// # Panics
    /// In const evaluation, if a CPU instance is already set.
    #[track_caller]
    pub const fn gpu(self, pool: GpuPool) -> Self {
        const fn alone(pool: GpuPool) -> &'static [GpuPool] {
            let mut at = 0;
            while at < GpuPool::ALL.len() {
                if GpuPool::ALL[at] as u32 == pool as u32 {
                    return GpuPool::ALL.split_at(at).1.split_at(1).0;
                }
                at += 1;
            }
            &[]
        }
        self.gpus(alone(pool), &[])
    }

    /// Runs on a GPU of any of these pools or types.
    ///
    /// # Panics
    /// In const evaluation, if both lists are empty or a CPU instance is already set.
    #[track_caller]
    pub const fn gpus(mut self, pools: &'static [GpuPool], types: &'static [GpuType]) -> Self {
        assert!(!pools.is_empty() || !types.is_empty(), "name at least one GPU pool or GPU type");
        assert!(!matches!(self.compute, Some(Compute::Cpu(_))), "a worker type is CPU or GPU, not both");
        self.compute = Some(Compute::Gpu { pools, types, count: 1 });
        self.gpus_have_memory()
    }

    /// GB of memory that a worker needs on each of its GPUs. On this machine, workers share a GPU as long as their
    /// memory fits. If no GPU is set, it runs on any pool with that much memory, cheapest first.
    ///
    /// # Panics
    /// In const evaluation, if a GPU that is set has less memory, no pool has that much, or a CPU instance is set.
    #[track_caller]
    pub const fn vram_gib(mut self, gib: u32) -> Self {
        assert!(gib >= 1, "a worker with a GPU needs at least 1 GB of its memory");
        let pools = GpuPool::with_memory(gib);
        assert!(
            !pools.is_empty(),
            "no GPU has that much memory: the largest pool, BLACKWELL_180, has 180 GB"
        );
        self.vram_gib = Some(gib);
        match self.compute {
            None => self.gpus(pools, &[]),
            Some(Compute::Gpu { .. }) => self.gpus_have_memory(),
            Some(Compute::Cpu(_)) => panic!("`vram_gib` is memory of a GPU, but this is a CPU worker type"),
        }
    }

    /// Each GPU that a worker may get has the memory that it needs.
    #[track_caller]
    const fn gpus_have_memory(self) -> Self {
        const TOO_SMALL: &str = "a GPU that is named has less memory than `vram_gib` says: `flash catalog` lists \
                                 how much each has";
        if let (Some(gib), Some(Compute::Gpu { pools, types, .. })) = (self.vram_gib, self.compute) {
            let mut at = 0;
            while at < pools.len() {
                assert!(pools[at].vram_gb() >= gib, "{}", TOO_SMALL);
                at += 1;
            }
            let mut at = 0;
            while at < types.len() {
                assert!(types[at].vram_gb() >= gib, "{}", TOO_SMALL);
                at += 1;
            }
        }
        self
    }

    /// GPUs per worker, 1 to 8.
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range or no GPU is set yet.
    #[track_caller]
    pub const fn gpu_count(mut self, gpus: u32) -> Self {
        assert!(1 <= gpus && gpus <= Self::MAX_GPUS, "a worker must have 1 to 8 GPUs");
        match self.compute {
            Some(Compute::Gpu { pools, types, .. }) => {
                self.compute = Some(Compute::Gpu { pools, types, count: gpus });
            }
            _ => panic!("set the GPU before its count"),
        }
        self
    }

    /// Minimum and maximum number of workers.
    ///
    /// # Panics
    /// In const evaluation, if the minimum is above the maximum, or the maximum is 0 or above 1000.
    #[track_caller]
    pub const fn workers(mut self, range: RangeInclusive<u32>) -> Self {
        let (min, max) = (*range.start(), *range.end());
        assert!(min <= max, "the minimum number of workers is above the maximum");
        assert!(max >= 1, "at least one worker must be allowed");
        assert!(max <= Self::MAX_WORKERS, "at most 1000 workers");
        self.workers_min = min;
        self.workers_max = max;
        self
    }

    /// Seconds without work before a worker above the minimum stops: 1 to 3600.
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    #[track_caller]
    pub const fn idle_timeout(mut self, seconds: u32) -> Self {
        assert!(
            1 <= seconds && seconds <= Self::MAX_IDLE_TIMEOUT,
            "the idle timeout must be 1 to 3600 seconds"
        );
        self.idle_timeout = seconds;
        self
    }

    /// Maximum seconds per job: 1 to 604,800 (7 days).
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    #[track_caller]
    pub const fn execution_timeout(mut self, seconds: u32) -> Self {
        assert!(
            1 <= seconds && seconds <= Self::MAX_EXECUTION_TIMEOUT,
            "the execution timeout must be 1 second to 7 days"
        );
        self.execution_timeout = seconds;
        self
    }

    /// Seconds that a worker may take from its start until it is ready, which includes loading a model: 1 to 86,400
    /// (a day).
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    #[track_caller]
    pub const fn start_timeout(mut self, seconds: u32) -> Self {
        assert!(
            1 <= seconds && seconds <= Self::MAX_START_TIMEOUT,
            "the start timeout must be 1 to 86400 seconds"
        );
        self.start_timeout = Some(seconds);
        self
    }

    /// Jobs or requests that one worker runs at once: 1 to 10,000.
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    #[track_caller]
    pub const fn max_concurrency(mut self, jobs: u32) -> Self {
        assert!(1 <= jobs && jobs <= Self::MAX_CONCURRENCY, "the concurrency of a worker must be 1 to 10000");
        self.max_concurrency = Some(jobs);
        self
    }

    /// Adds a worker whenever a job has waited this many seconds (1 or more).
    ///
    /// # Panics
    /// In const evaluation, for zero.
    #[track_caller]
    pub const fn queue_delay(mut self, seconds: u32) -> Self {
        assert!(seconds >= 1, "the queue delay must be at least one second");
        self.scaler = Some(Scaler::QueueDelay { seconds });
        self
    }

    /// Runs `ceil((queued + in progress) / requests)` workers.
    ///
    /// # Panics
    /// In const evaluation, for zero.
    #[track_caller]
    pub const fn request_count(mut self, requests: u32) -> Self {
        assert!(requests >= 1, "the request count must be at least one");
        self.scaler = Some(Scaler::RequestCount { requests });
        self
    }

    /// GB of disk of a worker: 1 to 10,000. The provider may have less.
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    #[track_caller]
    pub const fn disk_gib(mut self, gib: u32) -> Self {
        assert!(1 <= gib && gib <= Self::MAX_DISK, "the disk of a worker must be 1 to 10000 GB");
        self.disk_gib = Some(gib);
        self
    }

    /// MiB of shared memory (`/dev/shm`) in a worker's container: 1 to 1,048,576.
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    #[track_caller]
    pub const fn shm_mib(mut self, mib: u32) -> Self {
        assert!(1 <= mib && mib <= Self::MAX_SHM, "the shared memory of a worker must be 1 to 1048576 MiB");
        self.shm_mib = Some(mib);
        self
    }

    /// Idle workers beyond what the load needs, while there is load: at most 1000. They count towards the maximum.
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    #[track_caller]
    pub const fn buffer(mut self, workers: u32) -> Self {
        assert!(workers <= Self::MAX_WORKERS, "at most 1000 workers");
        self.buffer = workers;
        self
    }

    /// Runs each job on a fresh worker, which ends after it. A job may run for a day, if no other execution timeout is
    /// set afterwards.
    ///
    /// # Panics
    /// In const evaluation, if a minimum number of workers, a concurrency, a scaler or a buffer is set.
    #[track_caller]
    pub const fn task(mut self) -> Self {
        assert!(self.workers_min == 0, "a task starts its workers when jobs come: the minimum is 0");
        assert!(
            self.max_concurrency.is_none() && self.scaler.is_none() && self.buffer == 0,
            "a task has a fresh worker for each job: set no concurrency, scaler or buffer"
        );
        self.lifetime = Lifetime::OneJob;
        self.max_concurrency = Some(1);
        self.scaler = Some(Scaler::RequestCount { requests: 1 });
        self.execution_timeout = Self::TASK_EXECUTION_TIMEOUT;
        self
    }

    /// Data centers that it may run in.
    pub const fn data_centers(mut self, data_centers: &'static [DataCenter]) -> Self {
        self.data_centers = data_centers;
        self
    }

    /// Maximum size of a request's body, and of an answer's, in MiB: 1 to 10,240. For routes and routers.
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    #[track_caller]
    pub const fn max_body_mib(mut self, mib: u32) -> Self {
        assert!(1 <= mib && mib <= Self::MAX_BODY_MIB, "the limit of a body must be 1 to 10240 MiB");
        self.max_body_mib = Some(mib);
        self
    }

    /// Maximum seconds of a request until the last byte of its answer: 1 to 604,800 (7 days). A stream and an
    /// upgraded connection may last longer, but not be silent for longer. For routes and routers.
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    #[track_caller]
    pub const fn request_timeout(mut self, seconds: u32) -> Self {
        assert!(
            1 <= seconds && seconds <= Self::MAX_REQUEST_TIMEOUT,
            "the request timeout must be 1 second to 7 days"
        );
        self.request_timeout = Some(seconds);
        self
    }

    /// The model that its workers load: `org/name@revision`, `path:DIR` or `volume:NAME/DIR`, and patterns of the
    /// files that are needed, in which `*` stands for any characters; an empty list for all files.
    ///
    /// # Panics
    /// In const evaluation, if the reference or a pattern is not valid, or there are more than 64 patterns.
    #[track_caller]
    pub const fn model(mut self, reference: &'static str, files: &'static [&'static str]) -> Self {
        if let Some(problem) = reference_problem(reference) {
            panic!("{}", problem);
        }
        assert!(files.len() <= MAX_PATTERNS, "at most 64 patterns of files");
        let mut at = 0;
        while at < files.len() {
            if let Some(problem) = pattern_problem(files[at]) {
                panic!("{}", problem);
            }
            at += 1;
        }
        self.model = Some(ModelSource { reference, files });
        self
    }
}

const fn is_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > 63 || !bytes[0].is_ascii_alphabetic() {
        return false;
    }
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if !(byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
            return false;
        }
        at += 1;
    }
    true
}

#[cfg(test)]
mod tests;
