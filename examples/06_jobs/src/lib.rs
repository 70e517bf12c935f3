//! Jobs of three kinds: one with retries, one on a schedule, and a long one on a worker of its own.
//!
//! The functions are in a library, so that tests can call and fake them.
pub mod prices;
pub mod report;
pub mod simulation;
