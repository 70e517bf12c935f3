//! `flash deploy list`.
use clap::Args;
use serde_json::json;

use super::time;
use crate::{
    commands::place::target,
    exit::Failure,
    output::Output,
    target::{Environment, TargetKind},
};

/// List all environments, of all apps.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash deploy list\n  flash deploy list --json | jq -r '.environments[].url'\n\n\
                  Exit codes: 0 listed; 1 the target cannot be reached."
)]
pub(super) struct ListArguments {}

/// Runs it.
pub(super) async fn run(_: ListArguments, json: bool, output: &Output) -> Result<(), Failure> {
    let environments = target(TargetKind::Local).await?.environments().await?;
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
