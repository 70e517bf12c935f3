//! `flash status`.
use clap::Args;

use crate::{exit::Failure, output::Output};

/// What an environment does at this moment.
#[derive(Args)]
pub(crate) struct StatusArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(_arguments: StatusArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::failed("this command is not there yet"))
}
