//! Decides how many workers a worker type should have. The decision is pure; the pool provides the input and carries
//! it out.
mod decide;
#[cfg(test)]
mod simulation;

pub(crate) use decide::{Limits, Observation, WorkerView, decide};
