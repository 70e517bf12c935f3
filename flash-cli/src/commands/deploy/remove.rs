//! `flash deploy remove`.
use clap::Args;
use flash_plan::Mark;
use serde_json::json;

use super::subcommand::EnvironmentCommand;
use crate::{
    commands::{confirm::Confirmation, scope::ScopeArguments},
    credentials::CredentialStore,
    exit::{Code, Failure},
    output::Output,
    project::remove_environment,
};

/// Remove an environment: everything that runs in it, and everything stored for it.
#[derive(Args)]
#[command(after_help = "Examples:\n  flash deploy remove staging\n  flash deploy remove staging --yes\n\n\
                  Exit codes: 0 removed; 1 failed; 2 --yes is missing, or no such environment.")]
pub(crate) struct RemoveArguments {
    /// The environment. Required, so that nothing is removed by accident.
    #[arg(value_name = "ENV")]
    name: String,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    scope: ScopeArguments,
}

impl EnvironmentCommand for RemoveArguments {
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        let RemoveArguments { name, yes, scope: of } = self;
        let scope = of.environment(Some(&name)).await?;
        let environment = scope.target.environment(&scope.id).await?;
        let releases = scope.target.history(&scope.id).await?.len();
        // Keys that are also for other environments stay.
        let keys = match scope.target.caller_key() {
            Some(_) => 0,
            None => scope.target.keys(&scope.id).await?.len(),
        };
        if !output.is_json() {
            let endpoints: Vec<&str> = environment.endpoints.iter().map(|own| own.worker.as_str()).collect();
            let listed = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            let secrets: Vec<&str> = environment.secrets.keys().map(String::as_str).collect();
            output.change(Mark::Removed, &format!("environment {}", scope.id));
            for (what, which) in [
                ("endpoints", listed(&endpoints)),
                ("releases", releases.to_string()),
                ("keys", keys.to_string()),
                ("secrets", listed(&secrets)),
                ("and", "its jobs, waiting and finished; its logs; its costs".to_owned()),
            ] {
                output.change(Mark::Removed, &format!("  {what:<10} {which}"));
            }
            output.flush();
        }
        Confirmation::given(yes).or_prompt_for_name(&name)?;
        scope.target.remove(&scope.id).await?;
        CredentialStore::of_user()?.forget(&scope.id)?;
        if let Some(directory) = of.project() {
            remove_environment(&directory, &name)?;
        }
        match output.is_json() {
            true => output.object(&json!({ "removed": scope.id, "releases": releases, "keys": keys })),
            false => output.status("Removed", &scope.id.to_string()),
        }
        Ok(Code::Success)
    }
}
