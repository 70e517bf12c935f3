//! `flash undeploy`.
use clap::Args;
use flash_plan::Mark;
use flash_target::{Problem, Step};
use serde_json::json;

use super::{
    command::{Command, Context},
    confirm::Confirmation,
    scope::{OneEnvironment, Scope},
};
use crate::{
    credentials::CredentialStore,
    exit::{Code, Failure},
    output::{Format, Output},
};

/// Remove one endpoint from an environment, or all of them.
///
/// Running work is finished first. The environment keeps its address, keys, secrets and history.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash undeploy production --worker inference_worker\n  flash undeploy production --yes\n\n\
                  Exit codes: 0 done; 1 failed; 2 wrong usage, --yes is missing, or no such endpoint."
)]
pub(crate) struct UndeployArguments {
    #[command(flatten)]
    environment: OneEnvironment,
    /// Only this worker type.
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// Do not ask for confirmation.
    #[arg(long, short)]
    yes: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Command for UndeployArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(undeploy(self, context.output()))?;
        Ok(Code::Success)
    }
}

async fn undeploy(arguments: UndeployArguments, output: &Output) -> Result<(), Failure> {
    let UndeployArguments { environment: OneEnvironment { name, scope }, worker, yes, .. } = arguments;
    let scope = scope.environment(name.as_deref()).await?;
    let environment = scope.target.environment(&scope.id).await?;
    let names: Vec<&str> = environment.endpoints.iter().map(|own| own.worker.as_str()).collect();
    let going: Vec<&str> = match &worker {
        None => names.clone(),
        Some(worker) if names.contains(&worker.as_str()) => vec![worker],
        Some(worker) => {
            let near = flash_text::nearest(worker, names.iter().copied());
            let failure = Failure::unusable(format!("{} has no endpoint `{worker}`{near}", scope.id));
            return Err(match names.as_slice() {
                [] => failure
                    .hint(format!("nothing is live; send a release: flash deploy send {}", scope.id.name)),
                names => failure.hint(format!("endpoints: {}", names.join(", "))),
            });
        }
    };
    if going.is_empty() {
        match output.is_json() {
            true => output.object(&json!({ "environment": scope.id, "undeployed": going, "release": null })),
            false => output.status("Empty", &format!("nothing is live in {}", scope.id)),
        }
        return Ok(());
    }
    if !output.is_json() {
        going.iter().for_each(|name| output.change(Mark::Removed, &format!("endpoint {name}")));
        output.flush();
    }
    Confirmation::given(yes).or_prompt(&format!("Remove this from {}?", scope.id))?;
    let teller = output.clone();
    let mut on_step = move |step: Step| {
        if let Step::Draining { release } = step {
            teller.status("Draining", &format!("release {release}, which finishes the work it accepted"));
        }
    };
    let left = scope.target.undeploy(&scope.id, worker.as_deref(), &mut on_step).await?;
    forget_addresses(&scope).await?;
    if output.is_json() {
        output.object(&json!({ "environment": scope.id, "undeployed": going, "release": left }));
        return Ok(());
    }
    let rest = match left {
        Some(release) => format!("; release {} serves the rest", release.number),
        None => String::new(),
    };
    output.status("Undeployed", &format!("{} from {}{rest}", going.join(", "), scope.id));
    Ok(())
}

/// Updates the credential file to the endpoints that are left.
async fn forget_addresses(scope: &Scope) -> Result<(), Failure> {
    let environment = match scope.target.environment(&scope.id).await {
        Ok(environment) => environment,
        // Another process has removed it in the meantime.
        Err(error) if error.problem == Problem::NoEnvironment => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let endpoints = environment.endpoints.iter().map(|own| (own.worker.clone(), own.url.clone()));
    Ok(CredentialStore::of_user()?.set_addresses(&scope.id, environment.url.as_deref(), endpoints)?)
}
