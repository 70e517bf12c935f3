//! `flash cost`: what an environment has cost, and what an app would cost.
//!
//! `command` chooses between the two halves, `spent` and `estimate`.
mod command;
mod estimate;
mod spent;

pub(super) use command::CostArguments;
