//! The program `flash`: run, build and deploy serverless workers written in Rust.
//!
//! Not a library for others. [`main`] only maps a result to an exit code. Commands are in `commands`, one file each;
//! they reach environments through `flash_target::Target`.
#![warn(unreachable_pub)]

mod builder;
mod commands;
mod credentials;
mod deploy;
mod doctor;
#[cfg(test)]
mod documented;
mod estimate;
mod exit;
mod models;
mod output;
mod project;
#[cfg(test)]
mod reference;
mod watch;

use std::process::ExitCode;

/// Runs as what arguments and environment select: a command, the background service, the lifeline, or the compiler
/// wrapper.
pub fn main() -> ExitCode {
    if builder::is_compiler() {
        return builder::compiler_main();
    }
    if flash_platform::is_lifeline() {
        flash_platform::lifeline_main();
        return ExitCode::SUCCESS;
    }
    if flash_target_kubernetes::is_platform() {
        return flash_target_kubernetes::platform_main(&output::Output::service_report());
    }
    if flash_target_local::is_service() {
        return flash_target_local::service_main(&output::Output::service_report());
    }
    commands::main()
}
