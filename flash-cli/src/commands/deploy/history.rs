//! `flash deploy history`.
use clap::Args;
use flash_target::{ReleaseRecord, ReleaseState};
use serde_json::json;

use super::subcommand::EnvironmentCommand;
use crate::{
    commands::{scale, scope::OneEnvironment, time::local_time},
    exit::{Code, Failure},
    output::Output,
};

/// List the releases of an environment, newest first.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash deploy history production\n  flash deploy history --json | jq '.releases[0]'\n\n\
                  Exit codes: 0 success; 1 the target cannot be reached; 2 no such environment."
)]
pub(crate) struct HistoryArguments {
    #[command(flatten)]
    environment: OneEnvironment,
}

impl EnvironmentCommand for HistoryArguments {
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        let OneEnvironment { name, scope } = self.environment;
        let scope = scope.environment(name.as_deref()).await?;
        let releases = scope.target.history(&scope.id).await?;
        let scales = scope.target.scales(&scope.id).await?;
        if output.is_json() {
            output.object(&json!({ "environment": scope.id, "releases": releases, "scales": scales }));
            return Ok(Code::Success);
        }
        if releases.is_empty() {
            output.status("None", &format!("no releases yet; send one: flash deploy send {}", scope.id.name));
            return Ok(Code::Success);
        }
        let rows: Vec<Vec<String>> = releases.iter().map(row).collect();
        output.table(&["release", "state", "created", "commit", "digest", "notes"], &rows);
        scale::lines(&scales).iter().for_each(|line| output.line(line));
        Ok(Code::Success)
    }
}

fn row(record: &ReleaseRecord) -> Vec<String> {
    let state = match &record.state {
        ReleaseState::Starting => "starting",
        ReleaseState::Live => "live",
        ReleaseState::Replaced if record.kept => "replaced",
        ReleaseState::Replaced => "replaced, not kept",
        ReleaseState::Failed { .. } => "failed",
    };
    let reason = match &record.state {
        ReleaseState::Failed { reason } => Some(reason.lines().next().unwrap_or_default().to_owned()),
        _ => None,
    };
    let back = record.rollback_of.map(|number| format!("rollback to {number}"));
    let notes: Vec<String> = [back, record.notes.clone(), reason].into_iter().flatten().collect();
    let digest = record.digest.strip_prefix("sha256:").unwrap_or(&record.digest);
    vec![
        record.number.to_string(),
        state.to_owned(),
        local_time(record.created_ms),
        record.origin.commit.clone().unwrap_or_else(|| "-".to_owned()),
        digest.get(..12).unwrap_or(digest).to_owned(),
        notes.join("; "),
    ]
}
