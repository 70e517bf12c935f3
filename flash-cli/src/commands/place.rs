//! Which environment of which app, on which target, a command is for.
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use crate::{
    exit::{Code, Failure},
    target::{EnvironmentId, Target, TargetKind, local::LocalTarget},
};

/// What every command that is for one environment takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlaceArguments {
    /// The crate's directory.
    #[arg(long = "dir", short = 'C', value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// The app, where the directory is none [default: the crate's package name].
    #[arg(long)]
    pub app: Option<String>,
}

/// An environment and its target.
pub(crate) struct Place {
    pub id: EnvironmentId,
    pub target: Box<dyn Target>,
}

impl PlaceArguments {
    /// The app that is meant: `--app`, else the package of the directory or one above.
    ///
    /// # Errors
    /// Outside of a crate, without `--app`.
    pub(crate) fn app(&self) -> Result<String, Failure> {
        match &self.app {
            Some(app) => Ok(app.clone()),
            None => package_name(&self.directory).ok_or_else(|| {
                Failure::unusable(format!("{} is not inside a crate", self.directory.display()))
                    .hint("name the app: --app NAME; all of them: flash deploy list")
            }),
        }
    }

    /// The environment of this name; the only one of the app when not named.
    ///
    /// # Errors
    /// When it is not clear which one is meant. Whether it exists is for the target to say.
    pub(crate) async fn environment(&self, name: Option<&str>) -> Result<Place, Failure> {
        let app = self.app()?;
        let target = target(TargetKind::Local).await?;
        if let Some(name) = name {
            let id = EnvironmentId::new(&app, name).map_err(|error| Failure::of(Code::Unusable, &error))?;
            return Ok(Place { id, target });
        }
        let environments = target.environments().await?;
        let own: Vec<EnvironmentId> =
            environments.into_iter().map(|own| own.id).filter(|id| id.app == app).collect();
        match own.as_slice() {
            [only] => Ok(Place { id: only.clone(), target }),
            [] => Err(Failure::unusable(format!("`{app}` has no environment"))
                .hint("make one: flash deploy new production")),
            several => {
                let names: Vec<&str> = several.iter().map(|id| id.name.as_str()).collect();
                Err(Failure::unusable(format!("`{app}` has several environments: {}", names.join(", ")))
                    .hint("name one of them"))
            }
        }
    }
}

/// The target of this kind, ready to be asked.
///
/// # Errors
/// When it cannot be reached or started.
pub(crate) async fn target(kind: TargetKind) -> Result<Box<dyn Target>, Failure> {
    match kind {
        TargetKind::Local => Ok(Box::new(LocalTarget::connect().await?)),
        TargetKind::Runpod => Err(Failure::unusable("the target `runpod` is not there yet")
            .hint("deploy to this machine: --target local")),
    }
}

/// The package whose `Cargo.toml` is in this directory or above, without asking cargo: that takes longer than
/// most commands.
fn package_name(directory: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct CargoToml {
        package: Option<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let directory = directory.canonicalize().ok()?;
    let manifest = directory.ancestors().map(|above| above.join("Cargo.toml")).find(|path| path.is_file())?;
    let manifest: CargoToml = toml::from_str(&std::fs::read_to_string(manifest).ok()?).ok()?;
    manifest.package.map(|package| package.name)
}
