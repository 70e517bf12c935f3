//! What the subcommands of `flash deploy` have in common.
use crate::{
    exit::{Code, Failure},
    output::Output,
};

/// A subcommand of `flash deploy` and `flash env`: its arguments, and what it does.
pub(crate) trait EnvironmentCommand {
    /// Runs it.
    ///
    /// # Errors
    /// Why it could not be done, with the exit code.
    async fn run(self, output: &Output) -> Result<Code, Failure>;
}
