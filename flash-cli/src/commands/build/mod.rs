//! `flash build`: an image per worker type, made without a container daemon.
//!
//! Here are the arguments and what is printed at the end; `crate::build` does the work.
use std::path::PathBuf;

use clap::Args;

use crate::{
    build::{Build, Hardware, Materials, Platform, Request, Selection, Sources},
    exit::Failure,
    output::Output,
    project::{Config, CudaPolicy, Package},
};

/// Make an OCI image of each worker type of an app, small and reproducible.
///
/// Compiles the app with cargo, asks the binary for its worker types, and writes their images to
/// .flash/build/images, with a record of what was made in .flash/build/manifest.json. Needs no container
/// daemon. Images of CPU worker types hold a static binary, CA certificates, the files of `include` in
/// flash.toml, and nothing else.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash build\n  flash build examples/03_mixed_workers --worker inference_worker\n  \
                  flash build --push ghcr.io/me/app --tag v1\n  flash build --json | jq -r '.images[].digest'"
)]
pub(crate) struct BuildArguments {
    /// The crate's directory.
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Make the images of these worker types only. May be given several times.
    #[arg(long = "worker", value_name = "NAME")]
    workers: Vec<String>,
    /// Only GPU worker types; and CUDA's compiler must be there.
    #[arg(long, conflicts_with = "cpu")]
    gpu: bool,
    /// Only CPU worker types.
    #[arg(long)]
    cpu: bool,
    /// What the images run on: linux/amd64 or linux/arm64 [default: as this machine].
    #[arg(long)]
    platform: Option<Platform>,
    /// Cargo profile of the binaries.
    #[arg(long, value_name = "PROFILE", default_value = "release")]
    release_profile: String,
    /// Cargo features to build the app with, separated by commas (beside those in flash.toml).
    #[arg(long, value_delimiter = ',')]
    features: Vec<String>,
    /// Make no bill of materials.
    #[arg(long)]
    no_sbom: bool,
    /// Refuse to build changes that are in no commit.
    #[arg(long)]
    require_clean: bool,
    /// Print one JSON object: the content of .flash/build/manifest.json.
    #[arg(long)]
    pub json: bool,
}

/// Builds.
pub(crate) fn run(arguments: BuildArguments, output: &Output) -> Result<(), Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("could not start the async runtime: {error}")))?;
    runtime.block_on(build(arguments, output))
}

async fn build(arguments: BuildArguments, output: &Output) -> Result<(), Failure> {
    let package = Package::find(&arguments.directory)?;
    let config = Config::load(&package.directory)?;
    let request = request(&arguments);
    let build = Build::prepare(&request, &package, &config, output).await?;
    build.compile_all().await?;
    Ok(())
}

fn request(arguments: &BuildArguments) -> Request {
    let hardware = match (arguments.cpu, arguments.gpu) {
        (true, _) => Some(Hardware::Cpu),
        (_, true) => Some(Hardware::Gpu),
        _ => None,
    };
    Request {
        selection: Selection { workers: arguments.workers.clone(), hardware },
        platform: arguments.platform,
        profile: arguments.release_profile.clone(),
        features: arguments.features.clone(),
        cuda: arguments.gpu.then_some(CudaPolicy::Require),
        sources: if arguments.require_clean { Sources::Committed } else { Sources::Any },
        materials: if arguments.no_sbom { Materials::LeftOut } else { Materials::Listed },
    }
}
