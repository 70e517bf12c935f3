//! `flash models pull`.
use clap::Args;
use serde_json::{Value, json};

use super::app::app;
use crate::{
    commands::scope::DirectoryArguments,
    exit::{Code, Failure},
    models::{Fetched, LockPolicy, fetch},
    output::{Output, size},
};

#[derive(Args)]
pub(super) struct PullArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
    /// Look up branches and tags again, and lock the commits that they are at now.
    #[arg(long)]
    update: bool,
}

pub(super) async fn run(arguments: PullArguments, output: &Output) -> Result<Code, Failure> {
    let (manifest, mut place) = app(&arguments.directory, output).await?;
    let policy = if arguments.update { LockPolicy::Renew } else { LockPolicy::Extend };
    let (written, models) = fetch(&manifest, &mut place, policy, output).await?;
    if output.is_json() {
        let models: Vec<Value> = models.iter().map(object).collect();
        output.object(&json!({ "models": models, "lock": place.lock_path(), "lock_written": written }));
        return Ok(Code::Success);
    }
    if models.is_empty() {
        output.status("None", "no worker type of the app has a `model`");
    }
    for Fetched { model, locked, bytes, directory } in &models {
        let reference = &model.entry.reference;
        match locked {
            Some(locked) => {
                let verb = if *bytes > 0 { "Fetched" } else { "Found" };
                let commit = locked.commit.get(..12).unwrap_or(&locked.commit);
                let (files, total) = (locked.files.len(), size(locked.size()));
                output.status(verb, &format!("{reference} at {commit}: {files} files, {total}"));
            }
            None => output.status("Found", &format!("{reference} in {}", directory.display())),
        }
    }
    if written {
        let path = place.lock_path();
        output.status("Locked", &format!("{}: check it into git", path.display()));
    }
    Ok(Code::Success)
}

fn object(Fetched { model, directory, locked, bytes }: &Fetched) -> Value {
    json!({
        "model": model.entry.reference,
        "workers": model.workers.keys().collect::<Vec<_>>(),
        "commit": locked.as_ref().map(|locked| &locked.commit),
        "directory": directory,
        "files": locked.as_ref().map(|locked| &locked.files),
        "fetched_bytes": bytes,
    })
}
