//! Computes for long.
use flash_sdk::{Context, Result, progress, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Walks that are done.
    pub walks: u32,
    /// Their average end so far.
    pub average: f64,
}

/// Walks that may be done before progress is told.
const EACH: u32 = 1_000;

/// Walks at random, `steps` steps at a time, and averages where it ends.
///
/// A task: each job has a fresh worker, which is gone after it, and may run for three days. `status` shows the progress as
/// the job's output.
#[remote(worker = "simulations", cpu = Cpu3c_2_4, task, workers = 0..=2, execution_timeout = 259200)]
pub fn simulate(walks: u32, steps: u32) -> Result<Progress> {
    let call = Context::current();
    let mut sum = 0_f64;
    for walk in 1..=walks {
        let end: i32 = (0..steps).map(|_| if fastrand::bool() { 1 } else { -1 }).sum();
        sum += f64::from(end);
        if walk % EACH == 0 {
            progress(Progress { walks: walk, average: sum / f64::from(walk) })?;
            // Nothing interrupts a plain `fn`: it looks for itself whether somebody still wants the result.
            if call.as_ref().is_some_and(Context::is_cancelled) {
                break;
            }
        }
    }
    Ok(Progress { walks, average: sum / f64::from(walks.max(1)) })
}
