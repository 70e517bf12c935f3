//! `flash logs`.
use clap::Args;

use crate::{exit::Failure, output::Output};

/// What workers and the platform said in an environment.
#[derive(Args)]
pub(crate) struct LogsArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(_arguments: LogsArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::failed("this command is not there yet"))
}
