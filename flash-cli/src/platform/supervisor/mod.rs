//! Keeps worker processes: spawn within their limits, capture output, stop, and leave none behind.
//!
//! Knows processes and exit codes, not jobs. How many to run is the autoscaler's decision.
mod cgroup;
mod gpu;
mod isolation;
mod lifeline;
mod output;
mod process;
mod unix;

pub(crate) use isolation::{Isolation, Place};
pub(crate) use lifeline::{Lifeline, watch_over as lifeline_main};
pub(crate) use output::{Line, Output, Source};
pub(crate) use process::{Exit, Process, Spec};
pub(crate) use unix::die_with_parent;
