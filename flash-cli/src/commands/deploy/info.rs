//! `flash deploy info`.
use clap::Args;
use serde_json::json;

use super::{live, subcommand::EnvironmentCommand};
use crate::{
    commands::{scope::OneEnvironment, time::local_time},
    credentials::CredentialStore,
    exit::{Code, Failure},
    output::Output,
};

/// Show what is live in an environment, where, and how to call it.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash deploy info production\n  flash deploy info --json | jq .environment.live\n\n\
                  Exit codes: 0 success; 1 the target cannot be reached; 2 no such environment."
)]
pub(super) struct InfoArguments {
    #[command(flatten)]
    environment: OneEnvironment,
}

impl EnvironmentCommand for InfoArguments {
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        let OneEnvironment { name, scope } = self.environment;
        let scope = scope.environment(name.as_deref()).await?;
        let environment = scope.target.environment(&scope.id).await?;
        let store = CredentialStore::of_user()?;
        if let Some(key) = scope.target.caller_key() {
            store.set_key(&scope.id, &key)?;
        }
        let own = store.environment(&scope.id)?.is_some_and(|own| !own.key.is_empty());
        let has_key = own && store.header_file(&scope.id).is_file();
        let mut rows = match &environment.live {
            Some(_) => live::rows(&environment, &scope.target.spec(&scope.id, None).await?, &store),
            None => Vec::new(),
        };
        if !has_key {
            // The `curl` of a row reads the user's header file, which does not exist.
            for row in &mut rows {
                row.curl = format!(
                    "no key stored on this machine; create one: flash key new {} --use",
                    scope.id.name
                );
            }
        }
        if output.is_json() {
            output.object(&json!({ "environment": environment, "endpoints": rows }));
            return Ok(Code::Success);
        }
        let line = |name: &str, text: &str| output.line(&format!("{name:<12} {text}"));
        line("environment", &environment.id.to_string());
        line("target", environment.target.as_str());
        line("url", environment.url.as_deref().unwrap_or("-"));
        line("created", &local_time(environment.created_ms));
        let secrets: Vec<&str> = environment.secrets.keys().map(String::as_str).collect();
        line("secrets", if secrets.is_empty() { "-".to_owned() } else { secrets.join(", ") }.as_str());
        match &environment.live {
            Some(live) => {
                let commit =
                    live.origin.commit.as_ref().map_or(String::new(), |commit| format!(", commit {commit}"));
                line("release", &format!("{}, since {}{commit}", live.number, local_time(live.created_ms)));
                output.line("");
                output.endpoints(&rows);
            }
            None => {
                line("release", &format!("none yet; send one: flash deploy send {}", environment.id.name))
            }
        }
        Ok(Code::Success)
    }
}
