//! The GPUs of this machine, and which worker gets which.
//!
//! `find` asks the driver which GPUs there are, `allocation` decides by memory who gets which and does nothing else, and
//! `lease` gives them out: a worker for which no memory is free waits here.
mod allocation;
mod find;
mod lease;

pub(super) use allocation::Demand;
pub use find::Gpu;
pub(super) use find::{VISIBLE, find, has_driver};
pub(super) use lease::Gpus;
pub(crate) use lease::Lease;
