//! Keeps workers, which are processes or containers: spawn within their limits, capture output, stop, and
//! leave none behind.
//!
//! Knows processes and exit codes, not jobs. How many to run is the autoscaler's decision.
mod cgroup;
mod child;
mod confinement;
mod container;
mod exit;
mod gpu;
mod isolation;
mod lifeline;
mod listener;
mod output;
mod process;
mod start;
mod unix;

pub(crate) use child::{SpawnError, Spec};
pub(crate) use confinement::Confinement;
pub(crate) use exit::{Exit, last_words};
pub(crate) use isolation::{Isolation, Limiting, Survey, survey};
pub(crate) use lifeline::{Lifeline, watch_over as lifeline_main};
pub(crate) use listener::{Stranger, stranger_on};
pub(crate) use output::{Line, Output, Source, Work};
pub(crate) use start::{Hearing, Running, Start};
