//! `flash cost`.
use clap::Args;

use crate::{exit::Failure, output::Output};

/// What an environment has cost, and what it would cost.
#[derive(Args)]
pub(crate) struct CostArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(_arguments: CostArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::failed("this command is not there yet"))
}
