//! `flash key`.
use clap::Args;

use crate::{exit::Failure, output::Output};

/// Keys that open an environment.
#[derive(Args)]
pub(crate) struct KeyArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(_arguments: KeyArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::failed("this command is not there yet"))
}
