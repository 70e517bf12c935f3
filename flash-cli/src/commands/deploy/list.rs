//! `flash deploy list`.
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::time;
use crate::{
    commands::place::{PlaceArguments, target},
    exit::Failure,
    output::Output,
    project::Config,
    target::{Environment, TargetKind},
};

/// List all environments, of all apps: those of this machine, and those of Runpod where a key for it is known.
#[derive(Args)]
#[command(after_help = "Examples:\n  flash deploy list\n  flash deploy list --target local\n  \
                  flash deploy list --json | jq -r '.environments[].url'\n\n\
                  Exit codes: 0 listed, also when the cloud cannot be reached, which is a warning; 1 the target cannot \
                  be reached.")]
pub(super) struct ListArguments {
    /// Those of this target alone.
    #[arg(long)]
    target: Option<TargetKind>,
    /// The project's directory, whose .env is looked at for a key of the cloud.
    #[arg(long = "dir", short = 'C', value_name = "DIR", default_value = ".")]
    directory: PathBuf,
}

/// Runs it.
pub(super) async fn run(arguments: ListArguments, json: bool, output: &Output) -> Result<(), Failure> {
    let environments = match arguments.target {
        Some(kind) => {
            let project = project_in(arguments.directory);
            target(kind, project.as_deref()).await?.environments().await?
        }
        None => everywhere(arguments.directory, output).await?,
    };
    if json {
        output.object(&json!({ "environments": environments }));
        return Ok(());
    }
    if environments.is_empty() {
        output.status("None", "there is no environment; make one: flash deploy new production");
        return Ok(());
    }
    let row = |own: &Environment| {
        let (release, since) = match &own.live {
            Some(live) => (live.number.to_string(), time(live.created_ms)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        let url = own.url.clone().unwrap_or_default();
        vec![own.id.app.clone(), own.id.name.clone(), own.target.to_string(), release, since, url]
    };
    let rows: Vec<Vec<String>> = environments.iter().map(row).collect();
    output.table(&["app", "environment", "target", "release", "live since", "url"], &rows);
    Ok(())
}

fn project_in(directory: PathBuf) -> Option<PathBuf> {
    PlaceArguments { directory, app: None, target: None }.project()
}

/// Those of this machine, then those of the cloud as far as they can be had.
async fn everywhere(directory: PathBuf, output: &Output) -> Result<Vec<Environment>, Failure> {
    let mut environments = target(TargetKind::Local, None).await?.environments().await?;
    let project = project_in(directory);
    // A broken file is another command's business.
    let config = project.as_deref().and_then(|directory| Config::load(directory).ok()).unwrap_or_default();
    let is_declared = config.environments().iter().any(|own| own.target == TargetKind::Runpod);
    match target(TargetKind::Runpod, project.as_deref()).await {
        Ok(cloud) => match cloud.environments().await {
            Ok(those) => environments.extend(those),
            Err(error) => output.warning(&format!("those on Runpod are not listed: {error}")),
        },
        Err(failure) if is_declared => output.warning(&format!("those on Runpod are not listed: {failure}")),
        // Whoever has no key has nothing there.
        Err(_) => {}
    }
    Ok(environments)
}
