//! What the tests of several crates share: what a test leaves out ([`skipped`]), a registry ([`docker_registry`]), a
//! server that speaks the Hub's protocol (`hub`), a database after a power cut ([`wal_cuts`]), and readers of what comes
//! from outside as fuzz targets (`fuzz`).
//!
//! Helpers that one crate alone uses stay in that crate. Not published; only tests, fuzz targets and benchmarks depend
//! on it.
#![warn(unreachable_pub)]
#![allow(clippy::unwrap_used, reason = "only tests use it, and a test fails by panicking")]

pub mod docker_registry;
#[cfg(feature = "fuzz")]
pub mod fuzz;
#[cfg(feature = "hub")]
pub mod hub;
pub mod skipped;
pub mod wal_cuts;

// What the macros here expand to.
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub use inventory;
