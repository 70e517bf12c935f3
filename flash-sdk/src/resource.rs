//! Resource configs: what a worker type runs on and how far it scales.
//!
//! Built by const builders, so that a wrong config fails in `cargo check`. Decides nothing at run time:
//! the platform reads the same values from the manifest.
use std::ops::RangeInclusive;

use crate::catalogue::{CpuInstance, DataCenter, GpuPool, GpuType};

/// The hardware of a worker type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compute {
    /// CPU instances, any of which will do, in order of preference.
    Cpu(&'static [CpuInstance]),
    /// GPUs: pools and single types, any of which will do.
    Gpu {
        /// Pools, in order of preference.
        pools: &'static [GpuPool],
        /// Single GPU types beside them.
        types: &'static [GpuType],
        /// GPUs per worker.
        count: u32,
    },
}

/// How the number of workers follows the load. The two scalers of Runpod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scaler {
    /// One more worker whenever a job has waited this many seconds.
    QueueDelay {
        /// Seconds, 1 or more.
        seconds: u32,
    },
    /// `ceil((queued + in progress) / requests)` workers.
    RequestCount {
        /// Requests per worker, 1 or more.
        requests: u32,
    },
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
/// | concurrency of a worker | 1 for jobs, 64 for routes | 1 to 10,000 |
/// | scaler | queue delay of 4 s for jobs, 4 requests per worker for routes | |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceConfig {
    /// The name of the worker type: a letter, then letters, digits, `_` and `-`.
    pub name: &'static str,
    /// The hardware; `None` where another declaration of the same worker type says it.
    pub compute: Option<Compute>,
    /// Workers kept running with no load.
    pub workers_min: u32,
    /// Workers at most.
    pub workers_max: u32,
    /// Seconds without work after which a worker above the minimum stops.
    pub idle_timeout: u32,
    /// Seconds that one job may run.
    pub execution_timeout: u32,
    /// Jobs or requests that one worker runs at the same time; `None` for the default of its kind.
    pub max_concurrency: Option<u32>,
    /// How the number of workers follows the load; `None` for the default of its kind.
    pub scaler: Option<Scaler>,
    /// Where it may run; empty for anywhere.
    pub data_centers: &'static [DataCenter],
}

impl ResourceConfig {
    /// Workers that a worker type may have at most.
    pub const MAX_WORKERS: u32 = 1000;
    /// The longest idle timeout in seconds.
    pub const MAX_IDLE_TIMEOUT: u32 = 3600;
    /// The longest execution timeout in seconds: 7 days.
    pub const MAX_EXECUTION_TIMEOUT: u32 = 7 * 24 * 3600;
    /// Jobs or requests that one worker may run at the same time at most.
    pub const MAX_CONCURRENCY: u32 = 10_000;
    /// GPUs that one worker may have at most.
    pub const MAX_GPUS: u32 = 8;

    /// Whether a worker type may have this name: a letter, then letters, digits, `_` or `-`, 63 in all.
    pub const fn is_name(name: &str) -> bool {
        is_name(name)
    }

    /// A worker type of this name with every default and no hardware yet.
    ///
    /// # Panics
    /// In const evaluation, for a name that is empty or holds other than letters, digits, `_`, `-`.
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
            max_concurrency: None,
            scaler: None,
            data_centers: &[],
        }
    }

    /// Runs on this CPU instance.
    ///
    /// # Panics
    /// In const evaluation, when a GPU was chosen before.
    pub const fn cpu(self, instance: CpuInstance) -> Self {
        // One slice per instance, so that a const builder can refer to it for ever.
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
    /// In const evaluation, for an empty list or when a GPU was chosen before.
    pub const fn cpus(mut self, instances: &'static [CpuInstance]) -> Self {
        assert!(!instances.is_empty(), "name at least one CPU instance");
        assert!(!matches!(self.compute, Some(Compute::Gpu { .. })), "a worker type is CPU or GPU, not both");
        self.compute = Some(Compute::Cpu(instances));
        self
    }

    /// Runs on a GPU of this pool.
    ///
    /// # Panics
    /// In const evaluation, when a CPU instance was chosen before.
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
    /// In const evaluation, for two empty lists or when a CPU instance was chosen before.
    pub const fn gpus(mut self, pools: &'static [GpuPool], types: &'static [GpuType]) -> Self {
        assert!(!pools.is_empty() || !types.is_empty(), "name at least one GPU pool or GPU type");
        assert!(!matches!(self.compute, Some(Compute::Cpu(_))), "a worker type is CPU or GPU, not both");
        self.compute = Some(Compute::Gpu { pools, types, count: 1 });
        self
    }

    /// Runs on a GPU of any pool with at least so many GB of memory, the cheapest first.
    ///
    /// # Panics
    /// In const evaluation, when no pool has so much or when a CPU instance was chosen before.
    pub const fn vram_gib(self, gib: u32) -> Self {
        let pools = GpuPool::with_memory(gib);
        assert!(
            !pools.is_empty(),
            "no GPU has that much memory: the largest pool, BLACKWELL_180, has 180 GB"
        );
        self.gpus(pools, &[])
    }

    /// GPUs per worker, 1 to 8.
    ///
    /// # Panics
    /// In const evaluation, outside that range or before a GPU was chosen.
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

    /// Workers from minimum to maximum.
    ///
    /// # Panics
    /// In const evaluation, for minimum over maximum, a maximum of zero or one over 1000.
    pub const fn workers(mut self, range: RangeInclusive<u32>) -> Self {
        let (min, max) = (*range.start(), *range.end());
        assert!(min <= max, "the minimum number of workers is above the maximum");
        assert!(max >= 1, "at least one worker must be allowed");
        assert!(max <= Self::MAX_WORKERS, "at most 1000 workers");
        self.workers_min = min;
        self.workers_max = max;
        self
    }

    /// Seconds without work after which a worker above the minimum stops: 1 to 3600.
    ///
    /// # Panics
    /// In const evaluation, outside that range.
    pub const fn idle_timeout(mut self, seconds: u32) -> Self {
        assert!(
            1 <= seconds && seconds <= Self::MAX_IDLE_TIMEOUT,
            "the idle timeout must be 1 to 3600 seconds"
        );
        self.idle_timeout = seconds;
        self
    }

    /// Seconds that one job may run: 1 to 604,800 (7 days).
    ///
    /// # Panics
    /// In const evaluation, outside that range.
    pub const fn execution_timeout(mut self, seconds: u32) -> Self {
        assert!(
            1 <= seconds && seconds <= Self::MAX_EXECUTION_TIMEOUT,
            "the execution timeout must be 1 second to 7 days"
        );
        self.execution_timeout = seconds;
        self
    }

    /// Jobs or requests that one worker runs at the same time: 1 to 10,000.
    ///
    /// # Panics
    /// In const evaluation, outside that range.
    pub const fn max_concurrency(mut self, jobs: u32) -> Self {
        assert!(1 <= jobs && jobs <= Self::MAX_CONCURRENCY, "the concurrency of a worker must be 1 to 10000");
        self.max_concurrency = Some(jobs);
        self
    }

    /// One more worker whenever a job has waited this many seconds (1 or more).
    ///
    /// # Panics
    /// In const evaluation, for zero.
    pub const fn queue_delay(mut self, seconds: u32) -> Self {
        assert!(seconds >= 1, "the queue delay must be at least one second");
        self.scaler = Some(Scaler::QueueDelay { seconds });
        self
    }

    /// `ceil((queued + in progress) / requests)` workers.
    ///
    /// # Panics
    /// In const evaluation, for zero.
    pub const fn request_count(mut self, requests: u32) -> Self {
        assert!(requests >= 1, "the request count must be at least one");
        self.scaler = Some(Scaler::RequestCount { requests });
        self
    }

    /// Where it may run.
    pub const fn data_centers(mut self, data_centers: &'static [DataCenter]) -> Self {
        self.data_centers = data_centers;
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
mod tests {
    use super::*;

    #[test]
    fn an_amount_of_memory_chooses_pools() {
        const LARGE: ResourceConfig = ResourceConfig::new("w").vram_gib(100).gpu_count(2);
        let pools: &[GpuPool] = &[GpuPool::Hopper141, GpuPool::Blackwell180];
        assert_eq!(LARGE.compute, Some(Compute::Gpu { pools, types: &[], count: 2 }));
    }

    #[test]
    #[should_panic(expected = "the largest pool, BLACKWELL_180, has 180 GB")]
    fn more_memory_than_any_gpu_has_is_refused() {
        let _ = ResourceConfig::new("w").vram_gib(181);
    }

    #[test]
    fn builders_work_in_const_context() {
        const GPU: ResourceConfig = ResourceConfig::new("inference")
            .gpu(GpuPool::Ada24)
            .gpu_count(2)
            .workers(0..=3)
            .idle_timeout(5)
            .execution_timeout(120);
        assert_eq!(GPU.compute, Some(Compute::Gpu { pools: &[GpuPool::Ada24], types: &[], count: 2 }));
        assert_eq!((GPU.workers_min, GPU.workers_max, GPU.execution_timeout), (0, 3, 120));
    }

    #[test]
    fn every_instance_can_be_chosen_alone() {
        for cpu in CpuInstance::ALL {
            let chosen = ResourceConfig::new("w").cpu(*cpu).compute;
            assert!(matches!(chosen, Some(Compute::Cpu([only])) if only == cpu));
        }
        for pool in GpuPool::ALL {
            let chosen = ResourceConfig::new("w").gpu(*pool).compute;
            assert!(matches!(chosen, Some(Compute::Gpu { pools: [only], .. }) if only == pool));
        }
    }

    #[test]
    #[should_panic(expected = "CPU or GPU, not both")]
    fn cpu_and_gpu_together_are_refused() {
        let _ = ResourceConfig::new("w").cpu(CpuInstance::Cpu3c_1_2).gpu(GpuPool::Ada24);
    }

    #[test]
    #[should_panic(expected = "minimum number of workers is above")]
    #[allow(clippy::reversed_empty_ranges, reason = "the mistake under test")]
    fn minimum_over_maximum_is_refused() {
        let _ = ResourceConfig::new("w").workers(3..=1);
    }

    #[test]
    #[should_panic(expected = "a letter, then")]
    fn a_name_with_a_slash_is_refused() {
        let _ = ResourceConfig::new("a/b");
    }
}
