//! The platform: a local implementation of what the provider runs in its cloud.
//!
//! `platform` starts and ends it. It manages `releases`; `lifecycle` contains their life cycle. Requests enter through
//! `gateway`, and jobs wait in `queue`. `pool` uses `autoscaler` to decide how many workers run, and `supervisor` to run
//! them. `schedule` runs functions at times of the clock. `meter` counts what they cost, their lines go to a sink of
//! `flash-logs`, and `webhook` sends the ends of jobs.
//!
//! One [`Platform`] serves one app at one port. Its callers, `flash run` and `flash-target-local`, decide what it runs
//! and which keys are valid, and keep the history of releases. It does not know about commands or how an app is built.
#![warn(unreachable_pub)]

mod app_metrics;
mod autoscaler;
mod balancer;
mod build_state;
mod counters;
mod error;
pub mod formats;
mod gateway;
mod health;
mod history;
mod hops;
mod inspect;
mod interface;
mod large_input;
mod launch;
mod lifecycle;
mod listener;
mod machine;
mod meter;
mod metrics;
mod options;
mod overview;
mod platform;
mod pool;
mod queue;
mod release;
mod releases;
mod runtime;
pub mod sample;
mod schedule;
mod supervisor;
mod tally;
#[cfg(test)]
mod tests;
mod traces;
mod webhook;
mod worker_id;

pub use error::{DeployError, StartError};
pub use flash_dashboard::view::{ChangeLine, ShownChanges, ShownRelease, ShownState, WayBack};
pub use gateway::{
    Access, AllowedHosts, ApiKey, DailyCost, DailyCosts, DashboardOptions, KeyHash, KeyRing, ReleaseHistory,
    Rollback,
};
pub use launch::{Artifact, Images, PodImages};
pub use listener::{ConnectionShare, Listeners, Received, serve as serve_connections};
pub use machine::Machine;
pub use meter::{CostTotals, FunctionTotal, TypeTotal};
pub use options::{Options, Retire};
pub use overview::TypeOverview;
pub use platform::Platform;
pub use pool::{Counts, Supervision, WorkerLimits, WorkerUsage};
pub use queue::{Durability, OpenError};
pub use release::NewRelease;
pub use releases::Expected;
pub use runtime::runtime;
pub use schedule::{ScheduleError, ScheduleOverview, ScheduleRun};
pub use supervisor::{
    Cluster, Confinement, Gpu, LimitScope, MachineCapabilities, OnWait, PodEnd, PodSpec, Removal, Wait,
    detect_capabilities, gpus_of_machine, is_lifeline, lifeline_main,
};
pub use tally::{BatchSums, Problem};
pub use traces::Traces;
pub use webhook::{AllowedNetworks, Secret};

#[cfg(test)]
flash_test_support::fuzz_tests!(
    "affinity",
    "cgroup_layout",
    "host_and_origin",
    "job_id",
    "route_table",
    "schema_sample"
);
