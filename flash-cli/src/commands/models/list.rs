//! `flash models list`.
use clap::Args;
use flash_protocol::ModelReference;
use flash_weights::{LockedModel, Place, locate};
use serde::Serialize;
use serde_json::json;

use super::app::app;
use crate::{
    commands::scope::DirectoryArguments,
    exit::{Code, Failure, FailureCode},
    models::{ModelPlace, WantedModel, wanted},
    output::{Output, size},
};

#[derive(Args)]
pub(super) struct ListArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
}

/// Whether a model is here.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// All files are.
    Here,
    /// Files are missing.
    Missing,
}

#[derive(Serialize)]
struct Row<'a> {
    model: &'a str,
    workers: Vec<&'a String>,
    state: State,
    /// Whether the lock file has it, with these files; `None` if it needs no lock.
    locked: Option<bool>,
    commit: Option<&'a String>,
    files: Option<usize>,
    bytes: Option<u64>,
}

pub(super) async fn run(arguments: ListArguments, output: &Output) -> Result<Code, Failure> {
    let (manifest, place) = app(&arguments.directory, output).await?;
    let models = wanted(&manifest).map_err(|error| Failure::of(FailureCode::Unusable, &error))?;
    let rows: Vec<Row<'_>> = models.iter().map(|model| row(model, &place)).collect();
    if output.is_json() {
        output.object(&json!({ "models": rows, "cache": place.cache.root() }));
        return Ok(Code::Success);
    }
    if rows.is_empty() {
        output.status("None", "no worker type of the app has a `model`");
        return Ok(Code::Success);
    }
    let line = |row: &Row<'_>| {
        let state = match (row.state, row.locked) {
            (State::Here, Some(false)) => "here, not locked",
            (State::Here, _) => "here",
            (State::Missing, Some(false)) => "not fetched, not locked",
            (State::Missing, _) => "not fetched",
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        vec![
            row.model.to_owned(),
            row.workers.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" "),
            or_dash(row.commit.and_then(|commit| commit.get(..12)).map(str::to_owned)),
            or_dash(row.files.map(|files| files.to_string())),
            or_dash(row.bytes.map(size)),
            state.to_owned(),
        ]
    };
    let lines: Vec<Vec<String>> = rows.iter().map(line).collect();
    output.table(&["model", "worker types", "commit", "files", "size", "state"], &lines);
    Ok(Code::Success)
}

fn row<'a>(model: &'a WantedModel, place: &'a ModelPlace) -> Row<'a> {
    let here =
        Place { given: None, crate_directory: place.directory.clone(), cache: Some(place.cache.clone()) };
    let is_here = model.workers.values().all(|entry| locate(entry, &here).is_ok());
    let is_hub = matches!(model.reference, ModelReference::Hub(_));
    let locked = place.lock.as_ref().and_then(|lock| lock.models.get(&model.entry.reference));
    let locked = locked.filter(|locked| locked.has_patterns(&model.patterns()));
    Row {
        model: &model.entry.reference,
        workers: model.workers.keys().collect(),
        state: if is_here { State::Here } else { State::Missing },
        locked: is_hub.then_some(locked.is_some()),
        commit: locked.map(|locked| &locked.commit),
        files: locked.map(|locked| locked.files.len()),
        bytes: locked.map(LockedModel::size),
    }
}
