//! `flash service`.
use clap::Args;

use crate::{exit::Failure, output::Output};

/// The background service that local environments live in.
#[derive(Args)]
pub(crate) struct ServiceArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(_arguments: ServiceArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::failed("this command is not there yet"))
}
