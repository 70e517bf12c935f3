//! The arguments of `flash models`.
use clap::{Args, Subcommand};

use super::{list, prune, pull, verify};
use crate::{
    commands::command::{Command, Context},
    exit::{Code, Failure},
    output::Format,
};

/// Fetch, list, verify and remove the weights of the app's models.
///
/// Models are kept in the Hub's cache, which huggingface_hub and others use too. `flash.models.lock` beside
/// Cargo.toml has the commit of each model, and the size and hash of its files: check it into git, because
/// deployments demand it. Read from the environment, or from .env: HF_TOKEN, HF_ENDPOINT, HF_HUB_CACHE, HF_HOME,
/// HF_HUB_OFFLINE.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash models pull\n  flash models pull --update\n  flash models list\n  \
                  flash models verify --json\n  flash models prune --dry-run\n\n\
                  Exit codes: 0 done; 1 failed, or `verify` found damage; 2 wrong usage, no crate, or a model that is \
                  not there or may not be read."
)]
pub(crate) struct ModelsArguments {
    #[command(subcommand)]
    command: ModelsCommand,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum ModelsCommand {
    /// Fetch what is missing, and write flash.models.lock. What is locked and here needs no network.
    Pull(pull::PullArguments),
    /// List the models, whether they are locked, and whether they are here.
    List(list::ListArguments),
    /// Read every file, and compare it with flash.models.lock. What is damaged is removed, so that `pull` fetches it
    /// again.
    Verify(verify::VerifyArguments),
    /// Remove unfinished downloads and content without a name of the app's models.
    Prune(prune::PruneArguments),
}

impl Command for ModelsArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let output = context.output();
        context.block_on(async {
            match self.command {
                ModelsCommand::Pull(arguments) => pull::run(arguments, output).await,
                ModelsCommand::List(arguments) => list::run(arguments, output).await,
                ModelsCommand::Verify(arguments) => verify::run(arguments, output).await,
                ModelsCommand::Prune(arguments) => prune::run(arguments, output).await,
            }
        })
    }
}
