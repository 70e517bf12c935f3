//! The resources of this machine that a worker may use: CPU time, memory and GPUs.
//!
//! It translates a worker type's hardware into a [`ProcessAllocation`] for each worker, and logs once per platform what
//! cannot be applied. `cgroup` and `gpu` do the work.
use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use flash_containers::Resources;
use flash_protocol::{
    GpuStatus,
    manifest::{ComputeEntry, WorkerType},
    variables,
};
use flash_text::error_chain;
use tokio::sync::OnceCell;

use super::{
    Lifeline,
    cgroup::{self, Cgroups, Group, Limits},
    confinement::{Confinement, Rules},
    gpu::{self, Demand, Gpu, Gpus, Lease},
};

/// Maximum processes and threads of a worker: enough for real programs, and a limit for fork bombs.
const MAX_PROCESSES: u32 = 4096;

/// Logs messages about the whole platform.
pub(super) type LogNotice = Arc<dyn Fn(String) + Send + Sync>;

/// Which workers are limited to their instance's resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitScope {
    /// No worker.
    None,
    /// All limits; missing support is logged at the start.
    All,
    /// All limits. Nearly all workers are containers, which their engine limits, so support for processes is detected
    /// only when there is one.
    Containers,
}

/// Divides this machine among the workers of a platform, or of several in one process. Cheap to share.
#[derive(Clone)]
pub(crate) struct Isolation {
    limiting: LimitScope,
    /// What its workers must not reach.
    confinement: Option<Arc<Confinement>>,
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` where the machine does not allow limits.
    cgroups: OnceLock<Option<Cgroups>>,
    /// Removes the groups. `None` in tests, which have no groups.
    lifeline: Option<Lifeline>,
    /// Looked for when the first worker needs one.
    gpus: OnceCell<Gpus>,
    /// What `flash` itself may see.
    visible_gpus: Option<String>,
    /// Whether the user has set the async threads for everything.
    threads_set: Vec<(String, String)>,
    say: LogNotice,
    said_no_group: AtomicBool,
    said_open: AtomicBool,
    said_shared: AtomicBool,
    said_fewer: AtomicBool,
}

/// The resources of one worker, released on drop.
pub(crate) struct ProcessAllocation {
    /// Set below the project's own environment.
    pub environment: Vec<(String, String)>,
    pub group: Option<Group>,
    pub rules: Option<Rules>,
    #[expect(dead_code, reason = "held until the worker has ended")]
    gpus: Option<Lease>,
}

/// The resources of one container, released on drop.
pub(super) struct ContainerAllocation {
    /// Set below the project's own environment.
    pub environment: Vec<(String, String)>,
    /// `None` where nothing is limited.
    pub resources: Option<Resources>,
    /// MiB of shared memory; the engine's default if not set.
    pub shm_mib: Option<u32>,
    /// Ids of the GPUs that it sees; none on a machine without.
    pub gpus: Vec<String>,
    #[expect(dead_code, reason = "held until the worker has ended")]
    lease: Option<Lease>,
}

#[cfg(test)]
impl Isolation {
    /// For tests: the machine has these GPUs.
    pub(crate) fn has_gpus(&self, gpus: Vec<Gpu>) {
        assert!(self.shared.gpus.set(Gpus::new(gpus)).is_ok(), "nobody has looked for them yet");
    }
}

#[cfg(test)]
impl ContainerAllocation {
    /// For tests of what a container runs with.
    pub(super) fn of_test(resources: Resources, shm_mib: u32, gpu: &str) -> Self {
        Self {
            environment: vec![(variables::MODEL_THREADS[0].to_owned(), "2".to_owned())],
            resources: Some(resources),
            shm_mib: Some(shm_mib),
            gpus: vec![gpu.to_owned()],
            lease: None,
        }
    }
}

impl Isolation {
    /// Detects what this machine allows and logs what it does not.
    pub(crate) fn start(limiting: LimitScope, lifeline: &Lifeline, say: LogNotice) -> Self {
        let isolation = Self::new(limiting, Some(lifeline.clone()), say);
        if limiting == LimitScope::All {
            isolation.cgroups();
        }
        isolation
    }

    fn new(limiting: LimitScope, lifeline: Option<Lifeline>, say: LogNotice) -> Self {
        let shared = Shared {
            cgroups: OnceLock::new(),
            lifeline,
            gpus: OnceCell::new(),
            visible_gpus: std::env::var(gpu::VISIBLE).ok(),
            threads_set: threads_set(),
            say,
            said_no_group: AtomicBool::new(false),
            said_open: AtomicBool::new(false),
            said_shared: AtomicBool::new(false),
            said_fewer: AtomicBool::new(false),
        };
        Self { limiting, confinement: None, shared: Arc::new(shared) }
    }

    /// The same groups and GPUs, for a platform with its own limits, whose workers must not access the confined
    /// directory.
    pub(crate) fn of(&self, limiting: LimitScope, confinement: Option<Confinement>) -> Self {
        Self { limiting, confinement: confinement.map(Arc::new), shared: self.shared.clone() }
    }

    /// The access rules of a worker; `None` if no files are closed to it.
    async fn rules(&self) -> Option<Rules> {
        let confinement = self.confinement.clone()?;
        let closed = confinement.closed.clone();
        // It lists directories.
        let made = tokio::task::spawn_blocking(move || confinement.rules()).await.ok()?;
        made.map_err(|reason| {
            self.say_once(&self.shared.said_open, || {
                format!(
                    "the service's files in {} are not protected from workers: {}",
                    closed.display(),
                    error_chain(&reason)
                )
            });
        })
        .ok()
    }

    fn cgroups(&self) -> Option<&Cgroups> {
        if self.limiting == LimitScope::None {
            return None;
        }
        let detect = || {
            let lifeline = self.shared.lifeline.as_ref()?;
            let detected = Cgroups::detect();
            if let Some(missing) = detected.missing {
                (self.shared.say)(missing);
            }
            if let Some(cgroups) = &detected.cgroups {
                lifeline.inherit(cgroups.left());
            }
            detected.cgroups
        };
        self.shared.cgroups.get_or_init(detect).as_ref()
    }

    /// How many threads a worker makes, for its functions and for each model library that has a variable for that. Those
    /// that `flash` itself was started with are not here. Empty for the worker's own defaults.
    fn threads(&self, worker_type: &WorkerType) -> Vec<(String, String)> {
        let vcpus = vcpus(&worker_type.compute).filter(|_| self.limiting != LimitScope::None);
        let Some(vcpus) = vcpus else { return Vec::new() };
        // More threads than CPU time, or than cores, only take turns.
        let cores = std::thread::available_parallelism()
            .map_or(u32::MAX, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
        let set = &self.shared.threads_set;
        thread_variables()
            .filter(|name| !set.iter().any(|(known, _)| known == name))
            .map(|name| (name.to_owned(), thread_count(name, vcpus, cores).to_string()))
            .collect()
    }

    /// The resources of a worker of this type that is a container. Its engine enforces them.
    pub(super) fn for_container(&self, worker_type: &WorkerType, gpus: Option<Lease>) -> ContainerAllocation {
        let Limits { vcpus, memory_gb, processes } = limits(&worker_type.compute);
        // A process inherits what is set; a container only has what is passed.
        let set = self.shared.threads_set.iter().cloned();
        ContainerAllocation {
            environment: self.threads(worker_type).into_iter().chain(set).collect(),
            resources: (self.limiting != LimitScope::None).then_some(Resources {
                vcpus,
                memory_gb,
                processes,
            }),
            shm_mib: worker_type.shm_mib,
            gpus: gpus.as_ref().map(Lease::ids).unwrap_or_default(),
            lease: gpus,
        }
    }

    /// A place for a worker of this type.
    pub(crate) async fn for_process(
        &self,
        worker_type: &WorkerType,
        worker: &str,
        gpus: Option<Lease>,
    ) -> ProcessAllocation {
        let mut environment = self.threads(worker_type);
        match &gpus {
            Some(lease) => environment.extend(lease.environment()),
            // It has no GPU in production either, and must not use memory of one here.
            None if worker_type.compute.vram_gb().is_none() && gpu::has_driver() => {
                environment.push((gpu::VISIBLE.to_owned(), String::new()));
            }
            None => {}
        }
        let group = self.group(worker, &limits(&worker_type.compute));
        ProcessAllocation { environment, group, rules: self.rules().await, gpus }
    }

    fn group(&self, worker: &str, limits: &Limits) -> Option<Group> {
        match self.cgroups()?.group(worker, limits) {
            Ok(group) => Some(group),
            Err(error) => {
                // A worker without limits is better than none.
                self.say_once(&self.shared.said_no_group, || {
                    format!("instance limits are not applied to {worker} and possibly other workers: {error}")
                });
                None
            }
        }
    }

    /// The GPUs of a worker of this type; `None` for a CPU, and on a machine without. `model` is the size of its model's
    /// files in bytes. While its memory is not free, it waits, and `on_wait` is told why; dropping the future ends that.
    ///
    /// # Errors
    /// If no GPU here has as much memory as it needs.
    pub(crate) async fn gpus_for(
        &self,
        worker_type: &WorkerType,
        model: Option<u64>,
        on_wait: impl Fn(String) + Send,
    ) -> Result<Option<Lease>, String> {
        let ComputeEntry::Gpu { count, .. } = worker_type.compute else { return Ok(None) };
        let gpus = self.gpus().await;
        let demand = Demand::of(worker_type, count, model);
        let Some(lease) = gpus.lease(demand, count, on_wait).await? else { return Ok(None) };
        self.say_of_lease(&lease, &worker_type.name, count, gpus.len());
        Ok(Some(lease))
    }

    /// What each GPU is used for; empty before the first worker needed one.
    pub(crate) async fn gpu_overview(&self) -> Vec<GpuStatus> {
        match self.shared.gpus.get() {
            Some(gpus) => gpus.overview().await,
            None => Vec::new(),
        }
    }

    async fn gpus(&self) -> &Gpus {
        let Shared { say, visible_gpus, .. } = &*self.shared;
        let found = self.shared.gpus.get_or_init(async || {
            let found = gpu::find(visible_gpus.as_deref()).await;
            if found.is_empty() {
                say("no GPU found: workers of GPU worker types run on the CPU".to_owned());
            }
            Gpus::new(found)
        });
        found.await
    }

    fn say_of_lease(&self, lease: &Lease, worker_type: &str, count: u32, here: usize) {
        if lease.len() < count as usize {
            self.say_once(&self.shared.said_fewer, || {
                format!(
                    "a worker of `{worker_type}` needs {count} GPUs but gets {here}: this machine has no more"
                )
            });
        } else if lease.is_shared {
            self.say_once(&self.shared.said_shared, || {
                format!(
                    "workers need more GPUs than the {here} of this machine: they now share them, whether their memory \
                     fits or not; `vram_gib` says how much one needs"
                )
            });
        }
    }

    fn say_once(&self, said: &AtomicBool, text: impl FnOnce() -> String) {
        if !said.swap(true, Ordering::Relaxed) {
            (self.shared.say)(text());
        }
    }
}

/// What this machine would allow a platform.
pub struct MachineCapabilities {
    /// Which limits would not apply and why, as a message.
    pub missing_limits: Option<String>,
    /// Whether a GPU driver is installed.
    pub has_driver: bool,
    /// GPUs that workers would get.
    pub gpus: Vec<String>,
}

/// Detects it as a platform does, by creating its groups, which are then removed.
pub async fn detect_capabilities() -> MachineCapabilities {
    let detected = Cgroups::detect();
    if let Some(cgroups) = &detected.cgroups {
        cgroup::clean(cgroups.left());
    }
    let gpus = gpus_of_machine().await.into_iter().map(|gpu| gpu.id).collect();
    MachineCapabilities { missing_limits: detected.missing, has_driver: gpu::has_driver(), gpus }
}

/// The GPUs that workers on this machine would get.
pub async fn gpus_of_machine() -> Vec<Gpu> {
    gpu::find(std::env::var(gpu::VISIBLE).ok().as_deref()).await
}

/// The variables for numbers of threads.
fn thread_variables() -> impl Iterator<Item = &'static str> {
    std::iter::once(variables::THREADS).chain(variables::MODEL_THREADS)
}

/// Those that this process was started with.
fn threads_set() -> Vec<(String, String)> {
    thread_variables().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))).collect()
}

/// Async threads are one per vCPU, because a machine with more work than cores still answers. Threads that compute are
/// no more than there are cores.
fn thread_count(variable: &str, vcpus: u32, cores: u32) -> u32 {
    if variable == variables::THREADS { vcpus } else { vcpus.min(cores) }
}

/// Virtual CPUs of a CPU worker: those of the instance of first choice, which it is also priced by.
fn vcpus(compute: &ComputeEntry) -> Option<u32> {
    limits(compute).vcpus
}

/// The provider does not publish the CPUs and memory that come with a GPU, so these workers only have a limit on
/// processes.
fn limits(compute: &ComputeEntry) -> Limits {
    let instance = match compute {
        ComputeEntry::Cpu { instances } => instances.first(),
        ComputeEntry::Gpu { .. } => None,
    };
    Limits {
        vcpus: instance.map(|instance| instance.vcpus()),
        memory_gb: instance.map(|instance| instance.memory_gb()),
        processes: MAX_PROCESSES,
    }
}

#[cfg(test)]
mod tests {

    use flash_protocol::{CpuInstance, GpuPool};
    use parking_lot::Mutex;
    use serde_json::json;

    use super::*;

    fn worker_type(compute: &ComputeEntry) -> WorkerType {
        let described = json!({
            "name": "w", "kind": "queue", "compute": compute, "workers_min": 0, "workers_max": 3,
            "idle_timeout_seconds": 60, "execution_timeout_seconds": 600, "max_concurrency": 1,
            "scaler": { "type": "queue_delay", "seconds": 4 },
        });
        serde_json::from_value(described).unwrap()
    }

    /// Says into the list.
    fn isolation(limiting: LimitScope) -> (Isolation, Arc<Mutex<Vec<String>>>) {
        let said: Arc<Mutex<Vec<String>>> = Arc::default();
        let list = said.clone();
        let say: LogNotice = Arc::new(move |text| list.lock().push(text));
        (Isolation::new(limiting, None, say), said)
    }

    #[test]
    fn the_instance_of_first_choice_limits_and_a_gpu_does_not() {
        let cpu = ComputeEntry::Cpu { instances: vec![CpuInstance::Cpu3g_2_8, CpuInstance::Cpu3c_1_2] };
        assert_eq!(limits(&cpu), Limits { vcpus: Some(2), memory_gb: Some(8), processes: 4096 });
        let gpu = ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 1 };
        assert_eq!(limits(&gpu), Limits { vcpus: None, memory_gb: None, processes: 4096 });
    }

    #[tokio::test]
    async fn without_limits_a_worker_has_threads_for_the_whole_machine() {
        let cpu = worker_type(&ComputeEntry::Cpu { instances: vec![CpuInstance::Cpu3c_4_8] });
        let threads = |place: ProcessAllocation| {
            place.environment.into_iter().find(|(name, _)| name == variables::THREADS)
        };
        let (off, said) = isolation(LimitScope::None);
        let place = off.for_process(&cpu, "w-1", None).await;
        assert!(place.group.is_none() && threads(place).is_none() && said.lock().is_empty());
        if std::env::var_os(variables::THREADS).is_none() {
            let (on, _) = isolation(LimitScope::All);
            let place = on.for_process(&cpu, "w-1", None).await;
            for name in variables::MODEL_THREADS.iter().filter(|name| std::env::var_os(name).is_none()) {
                assert!(place.environment.iter().any(|(known, _)| known == name), "{name}");
            }
            let threads = threads(place);
            assert_eq!(threads.map(|(_, count)| count).as_deref(), Some("4"));
        }
    }

    #[test]
    fn threads_that_compute_are_no_more_than_vcpus_and_cores() {
        let [rayon, candle] = variables::MODEL_THREADS;
        assert_eq!([thread_count(rayon, 8, 4), thread_count(candle, 2, 4)], [4, 2]);
        assert_eq!(thread_count(variables::THREADS, 8, 4), 8);
    }

    #[tokio::test]
    async fn workers_that_share_gpus_and_get_fewer_are_told_of_once() {
        let gpu =
            |count| worker_type(&ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count });
        let (isolation, said) = isolation(LimitScope::All);
        isolation.has_gpus(vec![Gpu::of_test("GPU-a", None), Gpu::of_test("GPU-b", None)]);
        let place = async |count, worker| {
            let gpus = isolation.gpus_for(&gpu(count), None, |_| ()).await.unwrap();
            isolation.for_process(&gpu(count), worker, gpus).await
        };
        let mut places = Vec::new();
        for worker in ["w-1", "w-2", "w-3", "w-4"] {
            places.push(place(1, worker).await);
        }
        let given: Vec<&str> = places.iter().map(|place| place.environment[0].1.as_str()).collect();
        assert_eq!(given, ["GPU-a", "GPU-b", "GPU-a", "GPU-b"]);
        let told = said.lock().join("\n");
        assert!(
            told.starts_with("workers need more GPUs than the 2 of this machine: they now share"),
            "{told}"
        );
        places.clear();
        for worker in ["w-5", "w-6"] {
            assert_eq!(place(4, worker).await.environment[0].1, "GPU-a,GPU-b");
        }
        let last = said.lock().last().cloned();
        assert_eq!(
            last.as_deref(),
            Some("a worker of `w` needs 4 GPUs but gets 2: this machine has no more")
        );
        assert_eq!(said.lock().len(), 2);
    }

    #[tokio::test]
    async fn a_container_gets_the_shared_memory_and_the_gpus_of_its_worker_type() {
        let (isolation, _) = isolation(LimitScope::Containers);
        isolation.has_gpus(vec![Gpu::of_test("GPU-a", None)]);
        let mut gpu =
            worker_type(&ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 1 });
        gpu.shm_mib = Some(512);
        let lease = isolation.gpus_for(&gpu, None, |_| ()).await.unwrap();
        let place = isolation.for_container(&gpu, lease);
        assert_eq!((place.shm_mib, &*place.gpus), (Some(512), &["GPU-a".to_owned()][..]));
        gpu.shm_mib = None;
        assert_eq!(isolation.for_container(&gpu, None).shm_mib, None);
    }
}
