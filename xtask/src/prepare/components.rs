//! rustfmt and clippy: a toolchain installed with rustup's minimal profile lacks them.
use crate::{
    command::{command, run, succeeds},
    failure::Failure,
    output,
};

/// Adds what is missing.
pub(super) fn prepare() -> Result<(), Failure> {
    let missing: Vec<&str> = [("rustfmt", "fmt"), ("clippy", "clippy")]
        .into_iter()
        .filter(|(_, subcommand)| !succeeds("cargo", &[subcommand, "--version"]))
        .map(|(component, _)| component)
        .collect();
    if missing.is_empty() {
        output::say("Found", "rustfmt and clippy");
        return Ok(());
    }
    run(command("rustup", &["component", "add"]).args(&missing))
        .map_err(|failure| failure.hint(format!("install {} for this toolchain", missing.join(" and "))))
}
