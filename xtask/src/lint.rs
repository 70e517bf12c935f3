//! `cargo xtask lint`: format, references in documents, walls between parts of the code, clippy, documentation. Warnings
//! are errors.
use clap::Args;

use crate::{
    command::{cargo, run as run_command},
    failure::Failure,
    prepare, references,
    steps::Steps,
    walls,
};

/// Check format, document references, lints and API docs of the whole workspace; warnings are errors.
///
/// Runs `cargo fmt --all --check`; checks that every file, heading, function and constant that a Markdown file names
/// exists, and that no parts of the code use each other; runs `cargo clippy` on all targets, and `cargo doc`. Changes no
/// source: use `cargo fmt --all` and `cargo clippy --fix` for that.
#[derive(Args)]
pub(crate) struct Arguments {}

/// Runs the lints.
pub(crate) fn run(_: &Arguments) -> Result<(), Failure> {
    let mut steps = Steps::start();
    prepare::lint(&mut steps)?;
    take(&mut steps)?;
    steps.finish("lint");
    Ok(())
}

/// The lints as steps of a task.
pub(crate) fn take(steps: &mut Steps) -> Result<(), Failure> {
    steps.take("format", || {
        run_command(&mut cargo(&["fmt", "--all", "--check"]))
            .map_err(|failure| failure.hint("cargo fmt --all"))
    })?;
    steps.take("references", references::check)?;
    steps.take("walls", walls::check)?;
    steps.take("clippy", || {
        run_command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.take("documentation", || {
        run_command(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })
}
