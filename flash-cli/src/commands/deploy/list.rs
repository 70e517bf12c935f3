//! `flash deploy list`.
use std::path::PathBuf;

use clap::Args;
use flash_target::{Environment, TargetKind};
use flash_target_kubernetes::ClusterSettings;
use serde_json::json;

use super::subcommand::EnvironmentCommand;
use crate::{
    commands::{
        choice::choice,
        scope::{ScopeArguments, target},
        time::local_time,
    },
    exit::{Code, Failure},
    output::Output,
    project::Config,
};

/// List all environments of all apps: those on this machine, and those on Runpod if a key is available.
#[derive(Args)]
#[command(after_help = "Examples:\n  flash deploy list\n  flash deploy list --target local\n  \
                  flash deploy list --json | jq -r '.environments[].url'\n\n\
                  Exit codes: 0 success (an unreachable cloud is only a warning); 1 the target cannot \
                  be reached.")]
pub(super) struct ListArguments {
    /// Only environments on this target.
    #[arg(long, value_parser = choice::<TargetKind>())]
    target: Option<TargetKind>,
    /// The project's directory; its .env is searched for a Runpod key.
    #[arg(long = "dir", short = 'C', value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

impl EnvironmentCommand for ListArguments {
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        let environments = match self.target {
            Some(TargetKind::Kubernetes) => {
                let project = project_in(self.directory);
                let config = project.as_deref().map(Config::load).transpose()?.unwrap_or_default();
                in_clusters(&config, output).await
            }
            Some(kind) => {
                let project = project_in(self.directory);
                target(kind, project.as_deref(), &ClusterSettings::default()).await?.environments().await?
            }
            None => everywhere(self.directory, output).await?,
        };
        if output.is_json() {
            output.object(&json!({ "environments": environments }));
            return Ok(Code::Success);
        }
        if environments.is_empty() {
            output.status("Found", "no environments; create one: flash deploy new production");
            return Ok(Code::Success);
        }
        let row = |own: &Environment| {
            let (release, since) = match &own.live {
                Some(live) => (live.number.to_string(), local_time(live.created_ms)),
                None => ("-".to_owned(), "-".to_owned()),
            };
            let url = own.url.clone().unwrap_or_default();
            vec![own.id.app.clone(), own.id.name.clone(), own.target.to_string(), release, since, url]
        };
        let rows: Vec<Vec<String>> = environments.iter().map(row).collect();
        output.table(&["app", "environment", "target", "release", "live since", "url"], &rows);
        Ok(Code::Success)
    }
}

/// Environments of the clusters and namespaces that flash.toml names. One that cannot be reached is left out.
async fn in_clusters(config: &Config, output: &Output) -> Vec<Environment> {
    let declared = config.environments().iter().filter(|own| own.target == TargetKind::Kubernetes);
    let mut places: Vec<&ClusterSettings> = Vec::new();
    for cluster in declared.map(|own| &own.cluster) {
        let is_same = |other: &&ClusterSettings| {
            (&other.context, &other.namespace) == (&cluster.context, &cluster.namespace)
        };
        if !places.iter().any(is_same) {
            places.push(cluster);
        }
    }
    let mut environments = Vec::new();
    for cluster in places {
        let those = match target(TargetKind::Kubernetes, None, cluster).await {
            Ok(target) => target.environments().await.map_err(Failure::from),
            Err(failure) => Err(failure),
        };
        match those {
            Ok(those) => environments.extend(those),
            Err(failure) => output.warning(&format!("environments on Kubernetes are not listed: {failure}")),
        }
    }
    environments
}

fn project_in(directory: PathBuf) -> Option<PathBuf> {
    ScopeArguments { directory, app: None, target: None }.project()
}

/// Environments on this machine, then those in the cloud and in clusters if they can be reached.
async fn everywhere(directory: PathBuf, output: &Output) -> Result<Vec<Environment>, Failure> {
    let mut environments =
        target(TargetKind::Local, None, &ClusterSettings::default()).await?.environments().await?;
    let project = project_in(directory);
    // An invalid flash.toml is reported by other commands.
    let config = project.as_deref().and_then(|directory| Config::load(directory).ok()).unwrap_or_default();
    let is_declared = config.environments().iter().any(|own| own.target == TargetKind::Runpod);
    match target(TargetKind::Runpod, project.as_deref(), &ClusterSettings::default()).await {
        Ok(cloud) => match cloud.environments().await {
            Ok(those) => environments.extend(those),
            Err(error) => output.warning(&format!("environments on Runpod are not listed: {}", error.text())),
        },
        Err(failure) if is_declared => {
            output.warning(&format!("environments on Runpod are not listed: {failure}"))
        }
        // Without a key there is nothing to list.
        Err(_) => {}
    }
    environments.extend(in_clusters(&config, output).await);
    Ok(environments)
}
