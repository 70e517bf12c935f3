//! What happens once a release is live: check that it answers, store its addresses, print its endpoints.
use flash_protocol::CommandWorker;
use flash_target::{
    CommandSpec, Environment, Problem, ReleaseRecord, ReleaseSpec, SecretValue, Step, TargetError,
};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::answers::check;
use crate::{
    commands::{
        endpoint_table,
        scope::{Scope, reachable},
    },
    credentials::CredentialStore,
    exit::Failure,
    output::{Endpoint, Output},
};

/// Prints a line for each step.
pub(super) fn print_steps(output: &Output) -> impl FnMut(Step) + Send + use<> {
    let output = output.clone();
    let mut bar = None;
    move |step| match step {
        Step::Sending { done, total } => {
            let shown = bar.get_or_insert_with(|| output.progress("Sending", "artifact"));
            shown.set_total(total);
            shown.set(done);
            if done >= total {
                bar = None;
                if total > 0 {
                    output.status("Sent", &HumanBytes(total).to_string());
                }
            }
        }
        Step::Starting { release } => {
            bar = None;
            output.status("Starting", &format!("release {release}"));
        }
        Step::Ready { worker } => output.status("Ready", &worker),
        Step::OnCall { worker } => {
            output.status("On call", &format!("{worker}: the first call starts a worker"));
        }
        Step::Live { release } => output.status("Switched", &format!("traffic to release {release}")),
        Step::Draining { release } => {
            output.status("Draining", &format!("release {release}, which finishes the work it accepted"));
        }
    }
}

/// The error of a failed change, with a hint where to find the reason.
pub(super) fn failed(error: TargetError, name: &str) -> Failure {
    let is_ready = error.problem != Problem::NotReady;
    let has_hint = error.hint.is_some();
    let failure = Failure::from(error);
    match (is_ready, has_hint) {
        (false, false) => failure.hint(format!("see its workers' logs: flash logs {name}")),
        _ => failure,
    }
}

/// Checks that every endpoint answers, then reports the release as live.
///
/// # Errors
/// Which endpoints do not answer, and what they answered.
pub(super) async fn confirm(
    scope: &Scope,
    record: &ReleaseRecord,
    extra: Value,
    output: &Output,
) -> Result<(), Failure> {
    let environment = scope.target.environment(&scope.id).await?;
    let spec = scope.target.spec(&scope.id, None).await?;
    let store = CredentialStore::of_user()?;
    let key = key(scope, &store, output).await?;
    check(&reachable(&scope.id, scope.target.as_ref()).await?, &spec, &key, &scope.id.name).await?;
    let endpoints = environment.endpoints.iter().map(|own| (own.worker.clone(), own.url.clone()));
    store.set_addresses(&scope.id, environment.url.as_deref(), endpoints)?;
    let rows = rows(&environment, &spec, &store);
    if output.is_json() {
        let mut object = json!({
            "environment": scope.id,
            "release": record,
            "url": environment.url,
            "endpoints": rows,
            "verified": true,
        });
        if let (Value::Object(object), Value::Object(extra)) = (&mut object, extra) {
            object.extend(extra);
        }
        output.object(&object);
        return Ok(());
    }
    let url = environment.url.as_deref().map_or(String::new(), |url| format!(" at {url}"));
    output.status("Live", &format!("{} release {}{url}", scope.id, record.number));
    output.line("");
    output.endpoints(&rows);
    Ok(())
}

/// The rows of the endpoint table, each with a `curl` that works as printed for this user.
pub(super) fn rows(environment: &Environment, spec: &ReleaseSpec, store: &CredentialStore) -> Vec<Endpoint> {
    let commands: Vec<CommandWorker> = spec.commands.iter().map(command).collect();
    let program = endpoint_table::curl_with_header(&store.header_file(&environment.id));
    match &environment.url {
        Some(url) => endpoint_table::endpoints(&spec.manifest, &commands, url, &program),
        None => endpoint_table::endpoints_apart(&spec.manifest, &environment.endpoints, &program),
    }
}

fn command(spec: &CommandSpec) -> CommandWorker {
    let CommandSpec { worker_type, program, environment: _, health_path } = spec.clone();
    // Only for a line in a table: nothing is started.
    CommandWorker { worker_type, program, environment: Vec::new(), health_path }
}

/// The user's key; a new one if there is none, for example because somebody else made the environment.
async fn key(scope: &Scope, store: &CredentialStore, output: &Output) -> Result<SecretValue, Failure> {
    // If the target has its own key, use the current one, whatever is stored.
    if let Some(own) = scope.target.caller_key() {
        store.set_key(&scope.id, &own)?;
        return Ok(own);
    }
    if let Some(own) = store.environment(&scope.id)?.filter(|own| !own.key.is_empty()) {
        let own = SecretValue::new(own.key);
        // Its header file may be missing.
        store.set_key(&scope.id, &own)?;
        return Ok(own);
    }
    let new = scope.target.new_key(&scope.id, "made by flash deploy").await?;
    store.set_key(&scope.id, &new.key)?;
    output.status("Key", &format!("you had none; {}… is now in your credential file", new.entry.prefix));
    Ok(new.key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_release_that_is_not_ready_says_where_to_read_more() {
        let not_ready = failed(TargetError::new(Problem::NotReady, "it is not ready"), "production");
        assert!(not_ready.to_string().contains("flash logs production"));
        let own = failed(TargetError::new(Problem::NotReady, "no").hint("free the disk"), "production");
        assert!(own.to_string().ends_with("hint: free the disk"));
    }
}
