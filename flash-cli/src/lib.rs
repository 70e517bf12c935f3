//! The program `flash`: run, build and deploy serverless workers written in Rust.
//!
//! Not a library for others: it is one so that fuzz targets can reach the code that reads external input. [`main`]
//! only maps a result to an exit code. Commands are in `commands`, one file each; they reach the platform through
//! `target`.
/// Registers a function of bytes as the fuzz target with this name; see `fuzzing`.
macro_rules! fuzz_target {
    ($name:literal, $run:expr) => {
        #[cfg(any(test, fuzzing))]
        inventory::submit! { $crate::fuzzing::Target { name: $name, run: $run } }
    };
}

// Shared with the integration tests.
#[cfg(test)]
#[path = "../tests/it/support/skipped.rs"]
mod skipped;

mod build;
mod commands;
mod credentials;
mod deploy;
mod doctor;
mod dotenv;
mod engine;
mod error_chain;
mod estimate;
mod exit;
mod formats;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod image;
mod output;
mod parent_death;
mod platform;
mod port_holder;
mod project;
mod sample;
mod target;
#[cfg(test)]
mod wal_cuts;
mod watch;

use std::process::ExitCode;

/// Runs as what arguments and environment select: a command, the background service, the lifeline, or the compiler
/// wrapper.
pub fn main() -> ExitCode {
    if build::is_compiler() {
        return build::compiler_main();
    }
    if target::local::is_lifeline() {
        target::local::lifeline_main();
        return ExitCode::SUCCESS;
    }
    if target::local::is_service() {
        return target::local::service_main();
    }
    commands::main()
}
