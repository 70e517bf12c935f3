//! `flash models verify`.
use clap::Args;
use flash_protocol::ModelReference;
use flash_weights::{
    LOCK_FILE,
    download::{Damage, discard, verify},
};
use serde_json::{Value, json};

use crate::{
    commands::scope::DirectoryArguments,
    exit::{Code, Failure, FailureCode},
    models::ModelPlace,
    output::Output,
    project::{self, Package},
};

#[derive(Args)]
pub(super) struct VerifyArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
}

pub(super) async fn run(arguments: VerifyArguments, output: &Output) -> Result<Code, Failure> {
    let package = Package::find(arguments.directory.path())?;
    let place = ModelPlace::open(&package.directory, &project::load_dotenv(&package.directory)?)?;
    let Some(lock) = &place.lock else {
        return Err(Failure::unusable(format!("there is no {LOCK_FILE} in {}", package.directory.display()))
            .hint("make it: flash models pull"));
    };
    let mut found: Vec<Value> = Vec::new();
    let mut is_whole = true;
    for (reference, locked) in &lock.models {
        let failed = |error: &dyn std::error::Error| Failure::of(FailureCode::Failed, error);
        let parsed = ModelReference::parse(reference).map_err(|error| failed(&error))?;
        let ModelReference::Hub(model) = parsed else { continue };
        let bar = output.progress("Reading", reference);
        bar.set_total(locked.size());
        let damaged = verify(&place.cache, &model, locked, &|done| bar.set(done)).await;
        drop(bar);
        let damaged = damaged.map_err(|error| failed(&error))?;
        for (file, damage) in &damaged {
            discard(&place.cache, &model, &locked.commit, file).map_err(|error| failed(&error))?;
            let what = match damage {
                Damage::Missing => "is not here",
                Damage::Different => "has other content than is locked, and was removed from the cache",
            };
            output.error(&format!("`{file}` of `{reference}` {what}"));
        }
        if damaged.is_empty() && !output.is_json() {
            output.status("Whole", &format!("{reference}: {} files", locked.files.len()));
        }
        is_whole &= damaged.is_empty();
        let files = damaged.iter().map(|(file, damage)| json!({ "file": file, "damage": damage }));
        found.push(json!({ "model": reference, "damaged": files.collect::<Vec<_>>() }));
    }
    if output.is_json() {
        output.object(&json!({ "models": found, "whole": is_whole }));
    }
    match is_whole {
        true => Ok(Code::Success),
        false => Err(Failure::failed("files of models are missing or damaged")
            .hint("fetch them again: flash models pull")),
    }
}
