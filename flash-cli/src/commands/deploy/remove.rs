//! `flash deploy remove`.
use clap::Args;
use serde_json::json;

use crate::{
    commands::{confirm::Confirmation, place::PlaceArguments},
    credentials::CredentialStore,
    exit::Failure,
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
    place: PlaceArguments,
}

/// Runs it.
pub(super) async fn run(arguments: RemoveArguments, json: bool, output: &Output) -> Result<(), Failure> {
    let RemoveArguments { name, yes, place: of } = arguments;
    let place = of.environment(Some(&name)).await?;
    let environment = place.target.environment(&place.id).await?;
    let releases = place.target.history(&place.id).await?.len();
    // Keys that are also for other environments stay.
    let keys = match place.target.caller_key() {
        Some(_) => 0,
        None => place.target.keys(&place.id).await?.len(),
    };
    if !json {
        let endpoints: Vec<&str> = environment.endpoints.iter().map(|own| own.worker.as_str()).collect();
        let listed = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let secrets: Vec<&str> = environment.secrets.keys().map(String::as_str).collect();
        output.change("-", &format!("environment {}", place.id));
        for (what, which) in [
            ("endpoints", listed(&endpoints)),
            ("releases", releases.to_string()),
            ("keys", keys.to_string()),
            ("secrets", listed(&secrets)),
            ("and", "its jobs, waiting and finished; its logs; its costs".to_owned()),
        ] {
            output.change("-", &format!("  {what:<10} {which}"));
        }
        output.flush();
    }
    Confirmation::given(yes).or_prompt_for_name(&name)?;
    place.target.remove(&place.id).await?;
    CredentialStore::of_user()?.forget(&place.id)?;
    if let Some(directory) = of.project() {
        remove_environment(&directory, &name)?;
    }
    match json {
        true => output.object(&json!({ "removed": place.id, "releases": releases, "keys": keys })),
        false => output.status("Removed", &place.id.to_string()),
    }
    Ok(())
}
