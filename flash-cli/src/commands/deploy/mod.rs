//! `flash deploy`.
use clap::Args;

use crate::{exit::Failure, output::Output};

/// Bring an app live in an environment, and keep it there.
#[derive(Args)]
pub(crate) struct DeployArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(_arguments: DeployArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::failed("this command is not there yet"))
}
