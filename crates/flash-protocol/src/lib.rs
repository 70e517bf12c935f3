//! What the programs of Flash tell each other: an app and the `flash` command, a worker and the platform, a client and
//! an environment.
//!
//! - [`wire`]: job objects as in Runpod's API, the call envelope, and the frames of the exchange.
//! - [`manifest`]: what an app says about itself; [`ResourceConfig`] is what its entries are made from.
//!   [`CommandWorker`] is a worker type that is a separate program.
//! - [`catalogue`]: CPU instances, GPUs, data centers and their prices.
//! - [`Error`]: the error of a call, and [`WireError`], its form on the wire. [`schema`] names the wrong fields of an
//!   input.
//! - [`variables`]: the names of the environment variables that an app binary reads. [`credentials`]: the file with
//!   the environments that a user can call.
//!
//! This crate only defines formats and checks values against them. `flash-sdk` and `flash-platform` decide who sends
//! what and when. Users see the parts that `flash-sdk` re-exports.
#![warn(unreachable_pub)]

#[cfg(feature = "axum")]
mod answer;
pub mod app_metrics;
mod batch;
pub mod catalogue;
mod command_worker;
pub mod credentials;
mod error;
pub mod exit_code;
#[cfg(any(test, fuzzing))]
mod fuzz;
mod generation;
mod gpu;
pub mod manifest;
mod model;
mod resource;
mod retries;
mod schedule;
pub mod schema;
pub mod variables;
pub mod wire;

pub use batch::{BatchLimits, BatchRun};
pub use catalogue::{CpuInstance, DataCenter, GpuPool, GpuType};
pub use command_worker::{CommandWorker, Program, with_port};
pub use error::{Error, ErrorKind, FieldError, Result, ResultExt, WireError, cut};
pub use generation::{GenerationEnd, Generations, GenerationsByModel, LATENCY_BOUNDS, Latencies, ModelLoad};
pub use gpu::GpuStatus;
pub use model::{HubModel, InvalidModel, ModelEntry, ModelReference, ModelSource, is_commit};
pub use resource::{Compute, Lifetime, ResourceConfig, Scaler};
pub use retries::Retries;
pub use schedule::{Missed, Overlap, Schedule};

#[cfg(test)]
flash_test_support::fuzz_tests!("envelope", "error_text", "exchange_frames");
