//! The app whose models are meant.
use flash_protocol::manifest::Manifest;

use crate::{
    commands::scope::DirectoryArguments,
    exit::Failure,
    models::ModelPlace,
    output::Output,
    project::{self, Build, Config, LastManifest, Package, SourceState},
};

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
    let built = project::build(&package, &how, output).await?;
    let manifest = project::describe(&built.program, &package.directory, &[], &config).await?;
    LastManifest::keep(&package.directory, sources, &manifest);
    Ok((manifest, place))
}
