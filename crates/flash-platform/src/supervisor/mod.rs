//! Runs workers as processes, in containers or in pods: starts them within their limits, captures output, stops them, and leaves
//! none behind.
//!
//! It knows processes and exit codes, not jobs. The autoscaler decides how many to run.
mod cgroup;
mod child;
mod cluster;
mod confinement;
mod container;
mod container_removal;
mod exit;
mod foreign_listener;
mod gpu;
mod isolation;
mod lifeline;
mod output;
mod pod;
mod process;
mod start;
mod unix;
mod usage;

pub(crate) use child::{SpawnError, Spec};
pub(crate) use cluster::StartInCluster;
pub use cluster::{Cluster, OnWait, PodEnd, PodSpec, Removal, Wait};
pub use confinement::Confinement;
pub(crate) use container::Lookup;
pub(crate) use exit::{Exit, last_output};
pub(crate) use foreign_listener::{ForeignListener, foreign_listener_on};
pub use gpu::Gpu;
pub(crate) use gpu::Lease;
pub(crate) use isolation::Isolation;
pub use isolation::{LimitScope, MachineCapabilities, detect_capabilities, gpus_of_machine};
pub(crate) use lifeline::Lifeline;
pub use lifeline::{is_lifeline, watch_over as lifeline_main};
pub(crate) use output::{Line, Output, Source, Work};
pub(crate) use pod::{AwaitedPod, Pods};
pub(crate) use start::{Handlers, Place, Running, Start, StartContainer};
pub(crate) use usage::{GroupUsage, usage_by_group};
