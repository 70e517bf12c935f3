//! `flash undeploy`.
use clap::Args;

use crate::{exit::Failure, output::Output};

/// Take an app, or one of its endpoints, out of an environment.
#[derive(Args)]
pub(crate) struct UndeployArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(_arguments: UndeployArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::failed("this command is not there yet"))
}
