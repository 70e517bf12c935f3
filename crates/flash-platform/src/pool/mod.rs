//! The workers of one worker type in one release: observes, lets the autoscaler decide, and acts.
//!
//! It holds the worker processes of its type with their keys and phases. Jobs are in the queue, requests in the
//! balancer. `worker_pool` is the pool, `control_loop` its loop, and `worker_life` the life of one worker. `crash`
//! decides when the next one may start, `liveness` detects silent workers, `lives` shows the `life` of each with its `usage` of the
//! machine, and `resume` brings back ended ones.
mod control_loop;
mod crash;
mod ended_workers;
mod life;
mod liveness;
mod lives;
mod reported;
mod resume;
mod supervision;
mod usage;
mod worker;
mod worker_life;
mod worker_line;
mod worker_pool;
mod workers;

pub(crate) use control_loop::run;
#[cfg(test)]
pub(crate) use crash::{Crashes, Death};
pub(crate) use life::{Doing, WorkerLife};
pub(crate) use liveness::Pulse;
pub(crate) use resume::{Resumed, resume};
pub use supervision::Supervision;
pub use usage::WorkerUsage;
pub(crate) use worker::Phase;
pub(crate) use worker_life::start;
pub use worker_pool::WorkerLimits;
pub(crate) use worker_pool::{JobRules, Pool, PoolContext, WorkSource};
pub use workers::Counts;
pub(crate) use workers::NotReady;
