//! The arguments of `flash models`, and the app whose models are meant.
use clap::{Args, Subcommand};
use flash_protocol::manifest::Manifest;

use super::{list, prune, pull, verify};
use crate::{
    commands::{
        command::{Command, Context},
        scope::DirectoryArguments,
    },
    exit::{Code, Failure},
    models::ModelPlace,
    output::{Format, Output},
    project::{self, Build, Config, LastManifest, Package, SourceState},
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

/// The app's manifest, as of its last build if nothing has changed since, and where its models are.
///
/// # Errors
/// When there is no crate, or it cannot be built.
pub(super) async fn app(
    directory: &DirectoryArguments,
    output: &Output,
) -> Result<(Manifest, ModelPlace), Failure> {
    let package = Package::find(directory.path())?;
    let place = ModelPlace::open(&package.directory, &project::load_dotenv(&package.directory)?)?;
    if let Some(last) = LastManifest::load(&package.directory)
        && last.is_current(&package).await
    {
        return Ok((last.manifest, place));
    }
    let config = Config::load(&package.directory)?;
    let sources = SourceState::of(&package).await;
    project::print_first_build(&package, None, "dev", output);
    let how = Build { features: config.features.clone(), ..Build::default() };
    let built = project::build(&package, &how).await?;
    let manifest = project::describe(&built.program, &package.directory, &[], &config).await?;
    LastManifest::keep(&package.directory, sources, &manifest);
    Ok((manifest, place))
}
