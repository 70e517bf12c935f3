//! What all commands have in common: what they get, what they return, and what happens to their output at the end.
use std::pin::Pin;

use tokio::runtime::Runtime;

use crate::{
    exit::{Code, Failure},
    output::{Format, Output},
};

/// A command of `flash`: its arguments, and what it does. The help is that of the arguments.
pub(super) trait Command {
    /// What it does about output that nobody has read yet when it has run.
    const UNREAD: Unread = Unread::Await;

    /// Whether it prints text or JSON.
    fn format(&self) -> Format;

    /// Runs it.
    ///
    /// # Errors
    /// Why it could not be done, with the exit code.
    fn run(self, context: &Context) -> Result<Code, Failure>;
}

/// What becomes of output that is not read yet when a command has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unread {
    /// The command's result is its output: it is done once that is written, however slow the reader is.
    Await,
    /// The command decides by itself how long it waits for its reader.
    Leave,
}

/// What a command gets besides its arguments.
pub(super) struct Context {
    output: Output,
    command_line: fn() -> clap::Command,
}

impl Context {
    /// For a command that prints in this format, and belongs to this command line.
    pub(super) fn new(format: Format, command_line: fn() -> clap::Command) -> Self {
        Self { output: Output::new(format), command_line }
    }

    /// The command line with all commands, for what describes it.
    pub(super) fn command_line(&self) -> clap::Command {
        (self.command_line)()
    }

    /// How it prints.
    pub(super) fn output(&self) -> &Output {
        &self.output
    }

    /// What runs its async code.
    ///
    /// # Errors
    /// When no runtime can be started.
    pub(super) fn runtime(&self) -> Result<Runtime, Failure> {
        flash_platform::runtime()
            .map_err(|error| Failure::failed(format!("could not start the async runtime: {error}")))
    }

    /// Runs async code to completion.
    ///
    /// # Errors
    /// Those of the code, and when no runtime can be started.
    pub(super) fn block_on<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        // Boxed, so that the loop that polls it is compiled once and not with each command in it.
        let work: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(work);
        self.runtime()?.block_on(work)
    }
}
