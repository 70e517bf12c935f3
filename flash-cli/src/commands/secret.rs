//! `flash secret`.
use clap::Args;

use crate::{exit::Failure, output::Output};

/// Secrets of an environment.
#[derive(Args)]
pub(crate) struct SecretArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(_arguments: SecretArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::failed("this command is not there yet"))
}
