//! Which environment of which app, on which target, a command applies to.
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Args;
use dialoguer::Select;
use flash_target::{Environment, EnvironmentId, Target, TargetKind};
use flash_target_kubernetes::{ClusterSettings, KubernetesTarget};
use flash_target_local::LocalTarget;
use flash_target_runpod::RunpodTarget;
use flash_text::nearest;
use serde::Deserialize;

use super::{choice::choice, confirm::is_terminal, prompt::prompt};
use crate::{
    exit::{Failure, FailureCode},
    project::Config,
};

/// The arguments of every command that applies to one environment.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScopeArguments {
    /// The crate's directory.
    #[arg(long = "dir", short = 'C', value_name = "DIR", default_value = ".")]
    pub directory: PathBuf,
    /// The app, when the directory is not a crate [default: the crate's package name].
    #[arg(long)]
    pub app: Option<String>,
    /// The environment's target [default: as in flash.toml, else local].
    #[arg(long, value_parser = choice::<TargetKind>())]
    pub target: Option<TargetKind>,
}

/// An environment; optional if the app has only one.
#[derive(Args)]
pub(crate) struct OneEnvironment {
    /// The environment [default: the only one of the app].
    #[arg(value_name = "ENV")]
    pub name: Option<String>,
    #[command(flatten)]
    pub scope: ScopeArguments,
}

/// The crate's directory, for commands that work on it: as a positional argument, or with the flag of the other
/// commands.
#[derive(Debug, Clone, Args)]
pub(crate) struct DirectoryArguments {
    /// The crate's directory [default: the current one].
    #[arg(value_name = "DIR")]
    positional: Option<PathBuf>,
    /// The crate's directory, as a flag like in other commands.
    #[arg(long = "dir", short = 'C', value_name = "DIR", conflicts_with = "positional")]
    named: Option<PathBuf>,
}

impl DirectoryArguments {
    /// This directory, as if given on the command line.
    pub(crate) fn of(directory: PathBuf) -> Self {
        Self { positional: Some(directory), named: None }
    }

    /// The directory that is meant.
    pub(crate) fn path(&self) -> &Path {
        self.positional.as_deref().or(self.named.as_deref()).unwrap_or(Path::new("."))
    }
}

/// An environment and its target.
pub(crate) struct Scope {
    pub id: EnvironmentId,
    pub target: Box<dyn Target>,
}

impl ScopeArguments {
    /// The app: `--app`, else the package of the directory or of one above.
    ///
    /// # Errors
    /// Outside a crate, without `--app`.
    pub(crate) fn app(&self) -> Result<String, Failure> {
        match &self.app {
            Some(app) => Ok(app.clone()),
            None => package(&self.directory).map(|(_, name)| name).ok_or_else(|| {
                let directory = self.directory.canonicalize().unwrap_or_else(|_| self.directory.clone());
                Failure::unusable(format!("{} is not inside a crate", directory.display()))
                    .hint("change to the directory of the app's crate, or give it: -C DIR; for an app that is elsewhere: --app NAME")
            }),
        }
    }

    /// The directory of the app's crate, if known: it holds `flash.toml`.
    pub(crate) fn project(&self) -> Option<PathBuf> {
        let (directory, name) = package(&self.directory)?;
        self.app.as_ref().is_none_or(|app| *app == name).then_some(directory)
    }

    /// The environment of this name, or the app's only one if no name is given. If there are several, the user
    /// chooses on a terminal.
    ///
    /// # Errors
    /// When it is not clear which one is meant. The target checks whether it exists.
    pub(crate) async fn environment(&self, name: Option<&str>) -> Result<Scope, Failure> {
        let app = self.app()?;
        let project = self.project();
        let directory = project.as_deref();
        let config = match directory {
            Some(directory) => Config::load(directory)?,
            None => Config::default(),
        };
        let kind = |name: &str| {
            let declared = || config.environment(name).map_or(TargetKind::Local, |own| own.target);
            self.target.unwrap_or_else(declared)
        };
        let cluster =
            |name: &str| config.environment(name).map(|own| own.cluster.clone()).unwrap_or_default();
        if let Some(name) = name {
            let id =
                EnvironmentId::new(&app, name).map_err(|error| Failure::of(FailureCode::Unusable, &error))?;
            let target = target(kind(&id.name), directory, &cluster(&id.name)).await?;
            // In a cloud, a declared environment counts as existing.
            if target.kind() == TargetKind::Local {
                let declared = config.environments().iter().map(|own| &own.name);
                check_there(&id, &target.environments().await?, declared)?;
            }
            return Ok(Scope { target, id });
        }
        let mut names: Vec<String> = config.environments().iter().map(|own| own.name.clone()).collect();
        // An environment declared on another target must not hide the local ones.
        let first = self.target.unwrap_or(TargetKind::Local);
        let of_first = config.environments().iter().find(|own| own.target == first);
        let of_first = of_first.map(|own| own.cluster.clone()).unwrap_or_default();
        let first_target = target(first, directory, &of_first).await?;
        let environments = first_target.environments().await?;
        let of_app = environments.into_iter().map(|own| own.id).filter(|id| id.app == app);
        let found: Vec<String> = of_app.map(|id| id.name).collect();
        // A declared environment that was never made is not a choice.
        names.retain(|name| match self.target {
            Some(_) => found.contains(name),
            None => kind(name) != TargetKind::Local || found.contains(name),
        });
        names.extend(found);
        names.sort();
        names.dedup();
        match names.as_slice() {
            [only] => Ok(Scope {
                id: EnvironmentId { app, name: only.clone() },
                target: match kind(only) {
                    kind if kind == first => first_target,
                    other => target(other, directory, &cluster(only)).await?,
                },
            }),
            [] => Err(Failure::unusable(format!("`{app}` has no environments"))
                .hint("create one: flash deploy new production")),
            several if is_terminal() => {
                let ask = || {
                    let prompt = format!("Environment of `{app}`");
                    Select::new().with_prompt(prompt).items(several).default(0).interact()
                };
                let chosen = tokio::task::block_in_place(|| prompt(ask))?;
                let name = several.get(chosen).cloned().unwrap_or_default();
                let id = EnvironmentId::new(&app, &name)
                    .map_err(|error| Failure::of(FailureCode::Unusable, &error))?;
                Ok(Scope { target: target(kind(&id.name), directory, &cluster(&id.name)).await?, id })
            }
            several => {
                Err(Failure::unusable(format!("`{app}` has several environments: {}", several.join(", ")))
                    .hint("give one of these names"))
            }
        }
    }
}

/// Whether this environment exists on this machine; if not, which name may have been meant.
///
/// # Errors
/// When it does not exist.
fn check_there<'a>(
    id: &EnvironmentId,
    there: &'a [Environment],
    declared: impl Iterator<Item = &'a String>,
) -> Result<(), Failure> {
    if there.iter().any(|own| own.id == *id) {
        return Ok(());
    }
    let of_app = there.iter().filter(|own| own.id.app == id.app).map(|own| own.id.name.as_str());
    // A declared environment may be in a cloud, or not made yet: its name is still correct.
    let names: BTreeSet<&str> =
        of_app.chain(declared.map(String::as_str)).filter(|own| *own != id.name).collect();
    let make = format!("flash deploy new {}", id.name);
    if names.is_empty() {
        let apps: BTreeSet<&str> = there.iter().map(|own| own.id.app.as_str()).collect();
        let near = if apps.contains(id.app.as_str()) { String::new() } else { nearest(&id.app, apps) };
        let message = format!("`{}` has no environment `{}`{near}", id.app, id.name);
        return Err(Failure::unusable(message)
            .hint(format!("create it first: {make}; to list all: flash deploy list")));
    }
    let near = nearest(&id.name, names.iter().copied());
    let names: Vec<&str> = names.into_iter().collect();
    let message = format!("`{}` has no environment `{}`{near}", id.app, id.name);
    Err(Failure::unusable(message).hint(format!("it has: {}; to make this one: {make}", names.join(", "))))
}

/// The target of this kind, ready for requests. The directory is that of the app's crate, if there is one: its .env
/// may hold a key.
///
/// # Errors
/// When it cannot be reached or started.
pub(crate) async fn target(
    kind: TargetKind,
    directory: Option<&Path>,
    cluster: &ClusterSettings,
) -> Result<Box<dyn Target>, Failure> {
    match kind {
        TargetKind::Local => Ok(Box::new(LocalTarget::open()?)),
        TargetKind::Runpod => Ok(Box::new(RunpodTarget::connect(directory)?)),
        TargetKind::Kubernetes => Ok(Box::new(KubernetesTarget::connect(cluster.clone()).await?)),
    }
}

/// The environment with addresses that this machine reaches as long as the target lives.
///
/// # Errors
/// When the target cannot be asked.
pub(crate) async fn reachable(id: &EnvironmentId, target: &dyn Target) -> Result<Environment, Failure> {
    let mut environment = target.environment(id).await?;
    if let Some(url) = target.reach(id).await? {
        let own = environment.url.clone().unwrap_or_default();
        for endpoint in &mut environment.endpoints {
            endpoint.url = endpoint.url.replacen(&own, &url, 1);
        }
        environment.url = Some(url);
    }
    Ok(environment)
}

/// The name of the crate in this directory or above, without running cargo, which takes longer than most commands.
fn package(directory: &Path) -> Option<(PathBuf, String)> {
    #[derive(Deserialize)]
    struct CargoToml {
        package: Option<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let directory = directory.canonicalize().ok()?;
    let own = directory.ancestors().find(|above| above.join("Cargo.toml").is_file())?;
    let manifest: CargoToml = toml::from_str(&std::fs::read_to_string(own.join("Cargo.toml")).ok()?).ok()?;
    manifest.package.map(|package| (own.to_owned(), package.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn there(app: &str, name: &str) -> Environment {
        Environment {
            id: EnvironmentId::new(app, name).unwrap(),
            target: TargetKind::Local,
            created_ms: 0,
            url: None,
            live: None,
            endpoints: Vec::new(),
            secrets: BTreeMap::new(),
        }
    }

    #[test]
    fn an_environment_that_is_not_there_is_answered_with_those_that_are() {
        let all = [there("shop", "production"), there("shop", "staging"), there("blog", "test")];
        let said = |app: &str, name: &str, declared: &[&str]| {
            let declared: Vec<String> = declared.iter().map(|&name| name.to_owned()).collect();
            let id = EnvironmentId::new(app, name).unwrap();
            check_there(&id, &all, declared.iter()).map_err(|failure| (failure.code, failure.to_string()))
        };
        assert_eq!(said("shop", "staging", &[]), Ok(()));
        for (app, name, declared, parts) in [
            ("shop", "stagin", &[][..], ["did you mean `staging`", "production, staging"]),
            ("shop", "clod", &["cloud"], ["did you mean `cloud`", "cloud, production, staging"]),
            ("shop", "xyz", &[], ["no environment `xyz`\n", "flash deploy new xyz"]),
            ("shpo", "production", &[], ["did you mean `shop`", "flash deploy list"]),
            ("blog", "tset", &[], ["did you mean `test`", "it has: test"]),
            // Declared but not made yet.
            (
                "new",
                "production",
                &["production"],
                ["no environment `production`", "flash deploy new production"],
            ),
        ] {
            let (code, text) = said(app, name, declared).unwrap_err();
            assert_eq!(code, FailureCode::Unusable);
            assert!(parts.iter().all(|part| text.contains(part)), "{app}/{name}: {text}");
        }
    }
}
