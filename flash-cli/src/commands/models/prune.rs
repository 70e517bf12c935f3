//! `flash models prune`.
use std::collections::BTreeSet;

use clap::Args;
use flash_protocol::{HubModel, ModelReference};
use flash_weights::download::{Pruned, prune};
use serde_json::{Value, json};

use super::app::app;
use crate::{
    commands::scope::DirectoryArguments,
    exit::{Code, Failure, FailureCode},
    models::{ModelPlace, wanted},
    output::{Output, size},
};

#[derive(Args)]
pub(super) struct PruneArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
    /// Also remove the commits that flash.models.lock does not name. Earlier releases of local deployments, and other
    /// programs, may still use them.
    #[arg(long)]
    old_commits: bool,
    /// Only show what would be removed.
    #[arg(long)]
    dry_run: bool,
}

pub(super) async fn run(arguments: PruneArguments, output: &Output) -> Result<Code, Failure> {
    let (manifest, place) = app(&arguments.directory, output).await?;
    let models = wanted(&manifest).map_err(|error| Failure::of(FailureCode::Unusable, &error))?;
    let of_hub = models.into_iter().filter_map(|model| match model.reference {
        ModelReference::Hub(hub) => Some(hub),
        ModelReference::Path(_) | ModelReference::Volume { .. } => None,
    });
    // Several revisions of one repository are one directory.
    let repos: BTreeSet<HubModel> =
        of_hub.map(|hub| HubModel { repo: hub.repo, revision: "main".to_owned() }).collect();
    let mut found: Vec<Value> = Vec::new();
    for repo in &repos {
        let keep = kept(repo, &place, arguments.old_commits)?;
        let pruned = prune(&place.cache, repo, &keep, arguments.dry_run)
            .map_err(|error| Failure::of(FailureCode::Failed, &error))?;
        if !output.is_json() {
            print(&repo.repo, &pruned, arguments.dry_run, output);
        }
        found.push(json!({ "repository": repo.repo, "removed": pruned }));
    }
    if output.is_json() {
        output.object(&json!({ "models": found, "dry_run": arguments.dry_run }));
    }
    Ok(Code::Success)
}

/// The commits of a repository that stay.
fn kept(repo: &HubModel, place: &ModelPlace, old_commits: bool) -> Result<BTreeSet<String>, Failure> {
    if !old_commits {
        let commits = place.cache.commits(repo);
        return commits.map_err(|error| Failure::failed(format!("cannot read the cache: {error}")));
    }
    let Some(lock) = &place.lock else {
        return Err(Failure::unusable("there is no lock file that says which commits are needed")
            .hint("make it: flash models pull"));
    };
    let is_of_repo = |reference: &str| matches!(ModelReference::parse(reference), Ok(ModelReference::Hub(hub)) if hub.repo == repo.repo);
    let locked = lock.models.iter().filter(|(reference, _)| is_of_repo(reference));
    Ok(locked.map(|(_, locked)| locked.commit.clone()).collect())
}

fn print(repo: &str, Pruned { commits, blobs, bytes }: &Pruned, dry_run: bool, output: &Output) {
    let verb = match (*blobs == 0 && commits.is_empty(), dry_run) {
        (true, _) => "Unchanged",
        (false, true) => "Removable",
        (false, false) => "Removed",
    };
    let commits = match commits.len() {
        0 => String::new(),
        several => format!(", {several} commits"),
    };
    output.status(verb, &format!("{repo}: {blobs} files, {}{commits}", size(*bytes)));
}
