//! The Kubernetes target: environments on the user's own cluster.
//!
//! The platform is the service of the local target, unchanged, in one pod of the user's namespace (`platform`). Its workers
//! are pods beside it, which it makes and removes itself (`pods`, from `worker_pod`, judged by `sight`). The user's commands
//! apply the environment's objects (`install`, from `objects`, `names` and `settings`, after `preflight`), and reach the
//! service through the cluster's API (`target`, `forward`): the cluster's own rights are the login.
//!
//! This crate alone knows Kubernetes. What a release consists of is left to `flash-cli`, and what runs in it to
//! `flash-platform`.
#![warn(unreachable_pub)]

mod error;
mod forward;
mod install;
mod names;
mod objects;
mod platform;
mod pods;
mod preflight;
#[cfg(test)]
mod schemas;
mod settings;
mod sight;
mod target;
mod worker_pod;

pub use objects::for_administrator;
pub use platform::platform_main;
pub use settings::{ClusterSettings, GPU_LABEL};
pub use target::KubernetesTarget;

/// The hidden argument that makes `flash` the platform of an environment in a cluster.
pub(crate) const PLATFORM_ARGUMENT: &str = "__platform";

/// Whether this process was started to be a platform in a cluster.
pub fn is_platform() -> bool {
    std::env::args_os().nth(1).is_some_and(|argument| argument == PLATFORM_ARGUMENT)
}
