//! How many workers a worker type should have. A pure decision; the pool observes and carries it out.
mod decide;
#[cfg(test)]
mod simulation;

pub(crate) use decide::{Limits, Observation, WorkerView, decide};
