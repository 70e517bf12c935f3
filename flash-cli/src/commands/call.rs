//! `flash call`.
use clap::Args;

use crate::{exit::Failure, output::Output};

/// Call a function of a deployed app.
#[derive(Args)]
pub(crate) struct CallArguments {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs it.
pub(crate) fn run(_arguments: CallArguments, _output: &Output) -> Result<(), Failure> {
    Err(Failure::failed("this command is not there yet"))
}
