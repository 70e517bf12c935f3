//! What a worker may use of this machine: its share of CPU time and memory, its GPUs.
//!
//! Translates a worker type's hardware into a [`Place`] for each worker. Says once per platform what of it
//! does not hold here. `cgroup` and `gpu` do the work.
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use flash_sdk::{
    env,
    manifest::{ComputeEntry, WorkerType},
};
use tokio::sync::OnceCell;

use super::{
    Lifeline,
    cgroup::{Cgroups, Group, Limits},
    gpu::{self, Gpus, Lease},
};

/// Processes and threads of a worker: no program of use needs more, and a fork bomb ends there.
const MAX_PROCESSES: u32 = 4096;

/// Takes what is to be said of the whole platform.
pub(crate) type Say = Arc<dyn Fn(String) + Send + Sync>;

/// The platform's share-out. Cheap to share.
#[derive(Clone)]
pub(crate) struct Isolation {
    shared: Arc<Shared>,
}

struct Shared {
    /// `None` where the machine or the project does not want limits.
    cgroups: Option<Cgroups>,
    are_limits_on: bool,
    /// Looked for when the first worker needs one.
    gpus: OnceCell<Gpus>,
    /// What `flash` itself may see.
    visible_gpus: Option<String>,
    /// Whether somebody set the async threads for everything.
    are_threads_set: bool,
    say: Say,
    said_no_group: AtomicBool,
    said_shared: AtomicBool,
    said_fewer: AtomicBool,
}

/// What one worker gets. Given back when dropped.
pub(crate) struct Place {
    /// Set below the project's own environment.
    pub environment: Vec<(String, String)>,
    pub group: Option<Group>,
    _gpus: Option<Lease>,
}

impl Isolation {
    /// Finds out what this machine allows and says what it does not.
    pub(crate) fn start(are_limits_on: bool, lifeline: &Lifeline, say: Say) -> Self {
        let mut cgroups = None;
        if are_limits_on {
            let detected = Cgroups::detect();
            if let Some(missing) = detected.missing {
                say(missing);
            }
            cgroups = detected.cgroups;
        }
        if let Some(cgroups) = &cgroups {
            lifeline.inherit(cgroups.left());
        }
        let shared = Shared {
            cgroups,
            are_limits_on,
            gpus: OnceCell::new(),
            visible_gpus: std::env::var(gpu::VISIBLE).ok(),
            are_threads_set: std::env::var_os(env::THREADS).is_some(),
            say,
            said_no_group: AtomicBool::new(false),
            said_shared: AtomicBool::new(false),
            said_fewer: AtomicBool::new(false),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A place for a worker of this type.
    pub(crate) async fn place(&self, worker_type: &WorkerType, worker: &str) -> Place {
        let mut environment = Vec::new();
        if let Some(vcpus) = vcpus(&worker_type.compute)
            && self.shared.are_limits_on
            && !self.shared.are_threads_set
        {
            // More threads than CPU time only take turns.
            environment.push((env::THREADS.to_owned(), vcpus.to_string()));
        }
        let gpus = match &worker_type.compute {
            ComputeEntry::Gpu { count, .. } => self.lease(&worker_type.name, *count).await,
            ComputeEntry::Cpu { .. } => {
                // In production it has none either; here it must not take memory of one.
                if gpu::has_driver() {
                    environment.push((gpu::VISIBLE.to_owned(), String::new()));
                }
                None
            }
        };
        if let Some(lease) = &gpus {
            environment.extend(lease.environment());
        }
        let group = self.group(worker, &limits(&worker_type.compute));
        Place { environment, group, _gpus: gpus }
    }

    fn group(&self, worker: &str, limits: &Limits) -> Option<Group> {
        match self.shared.cgroups.as_ref()?.group(worker, limits) {
            Ok(group) => Some(group),
            Err(error) => {
                // A worker without limits is of more use than none.
                self.say_once(&self.shared.said_no_group, || {
                    format!("limits of instances are not applied to {worker} and perhaps others: {error}")
                });
                None
            }
        }
    }

    async fn lease(&self, worker_type: &str, count: u32) -> Option<Lease> {
        let Shared { say, visible_gpus, .. } = &*self.shared;
        let found = self.shared.gpus.get_or_init(async || {
            let found = gpu::find(visible_gpus.as_deref()).await;
            if found.is_empty() {
                say("no GPU is to be seen here: workers of GPU types run on the CPU".to_owned());
            }
            Gpus::new(found)
        });
        let gpus = found.await;
        let lease = gpus.lease(count)?;
        let here = gpus.len();
        if lease.len() < count as usize {
            self.say_once(&self.shared.said_fewer, || {
                format!("a worker of `{worker_type}` wants {count} GPUs and gets {here}: here are no more")
            });
        } else if lease.is_shared {
            self.say_once(&self.shared.said_shared, || {
                format!("more GPUs are wanted than the {here} here: workers share them from now on")
            });
        }
        Some(lease)
    }

    fn say_once(&self, said: &AtomicBool, text: impl FnOnce() -> String) {
        if !said.swap(true, Ordering::Relaxed) {
            (self.shared.say)(text());
        }
    }
}

/// Virtual CPUs of a CPU worker: those of the instance of first choice, which it is also priced by.
fn vcpus(compute: &ComputeEntry) -> Option<u32> {
    limits(compute).vcpus
}

/// The provider does not say which CPUs and how much memory come with a GPU: those workers have no limit
/// but the one on processes.
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
