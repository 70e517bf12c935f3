//! What happens once a release is live: check that it answers, store its addresses, print its endpoints.
use std::time::{Duration, Instant};

use flash_platform::CommandWorker;
use flash_protocol::manifest::{ArgumentSource, EndpointKind, Manifest};
use flash_target::{
    CommandSpec, DeployedEndpoint, Environment, Problem, ReleaseRecord, ReleaseSpec, SecretValue, Step,
    TargetError, TargetKind,
};
use flash_text::error_chain;
use indicatif::HumanBytes;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

use crate::{
    commands::{endpoint_table, scope::Scope},
    credentials::CredentialStore,
    exit::{Code, Failure},
    output::{Endpoint, Output},
};

/// How long one endpoint may take to answer. Its workers are already ready, but a request may be slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How often an endpoint without a ready worker is polled.
const ASK_AGAIN: Duration = Duration::from_millis(200);

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
        Step::Live { release } => output.status("Switched", &format!("traffic goes to release {release}")),
        Step::Draining { release } => {
            output.status("Draining", &format!("release {release} finishes the work it accepted"));
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
    check(&environment, &spec, &key, &scope.id.name).await?;
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
    let CommandSpec { worker_type, program, arguments, environment: _, health_path } = spec.clone();
    // Only for a line in a table: nothing is started.
    CommandWorker { worker_type, program, arguments, environment: Vec::new(), health_path }
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

async fn check(
    environment: &Environment,
    spec: &ReleaseSpec,
    key: &SecretValue,
    name: &str,
) -> Result<(), Failure> {
    let mut client = Client::builder().timeout(ANSWER_LIMIT).redirect(reqwest::redirect::Policy::none());
    if environment.target == TargetKind::Local {
        client = client.no_proxy();
    }
    let client = client.build().map_err(|error| Failure::of(Code::Failed, &error))?;
    let mut wrong = Vec::new();
    for endpoint in &environment.endpoints {
        if let Err(reason) = answers(&client, (environment, endpoint), spec, key).await {
            wrong.push(format!("{}: {reason}", endpoint.worker));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let refuses = wrong.iter().any(|reason| reason.contains("rejected the key"));
    let hint = if refuses && environment.target == TargetKind::Runpod {
        "log in with a key that is allowed to call endpoints: flash login".to_owned()
    } else if refuses {
        format!("make a new key: flash key new {name} --use")
    } else {
        format!("see its workers' logs: flash logs {name}; go back: flash deploy rollback {name}")
    };
    Err(Failure::failed(format!(
        "the release has traffic, but not every endpoint answers\n  {}",
        wrong.join("\n  ")
    ))
    .hint(hint))
}

/// Checks a queue by its health; a load-balanced endpoint by a route that any request may call, else by its health
/// and a ready worker.
async fn answers(
    client: &Client,
    (environment, endpoint): (&Environment, &DeployedEndpoint),
    spec: &ReleaseSpec,
    key: &SecretValue,
) -> Result<(), String> {
    let own = endpoint.url.trim_end_matches('/');
    // This address is separate from the endpoint's URL, which does not answer before a worker has started. A
    // release whose workers sleep until they are needed is still healthy.
    if let Some(health) = &endpoint.health {
        return expect(ask(client, health, key).await?, |status| status == StatusCode::OK);
    }
    if endpoint.kind == EndpointKind::Queue {
        return expect(ask(client, &format!("{own}/health"), key).await?, |status| status == StatusCode::OK);
    }
    if let Some(path) = harmless_path(&spec.manifest, &endpoint.worker) {
        // A rejection by the app means that the request reached it. A missing or busy route does not.
        let reached = |status: StatusCode| {
            let is_missing = matches!(
                status,
                StatusCode::NOT_FOUND
                    | StatusCode::METHOD_NOT_ALLOWED
                    | StatusCode::REQUEST_TIMEOUT
                    | StatusCode::TOO_MANY_REQUESTS
            );
            !status.is_server_error() && !is_missing
        };
        return expect(ask(client, &format!("{own}{path}"), key).await?, reached);
    }
    let origin = environment.url.as_deref().unwrap_or(own).trim_end_matches('/');
    let health = format!("{origin}/v2/{}/health", endpoint.worker);
    has_ready_worker(client, &health, workers_min(spec, &endpoint.worker), key).await
}

/// The parts of an answer that matter here.
struct Answer {
    url: String,
    status: StatusCode,
    body: Value,
}

async fn ask(client: &Client, url: &str, key: &SecretValue) -> Result<Answer, String> {
    // The message already has the URL.
    let failed = |error: reqwest::Error| format!("GET {url}: {}", error_chain(&error.without_url()));
    let asked = client.get(url).bearer_auth(key.expose()).send().await.map_err(failed)?;
    let status = asked.status();
    let body = asked.bytes().await.map_err(failed)?;
    Ok(Answer { url: url.to_owned(), status, body: serde_json::from_slice(&body).unwrap_or_default() })
}

fn expect(answer: Answer, is_good: impl Fn(StatusCode) -> bool) -> Result<(), String> {
    let Answer { url, status, .. } = answer;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Err(format!("GET {url} rejected the key ({status})"))
        }
        _ if is_good(status) => Ok(()),
        _ => Err(format!("GET {url} answered {status}")),
    }
}

/// Workers come and go: wait for one that is being replaced.
async fn has_ready_worker(
    client: &Client,
    health: &str,
    workers_min: u32,
    key: &SecretValue,
) -> Result<(), String> {
    let end = Instant::now() + ANSWER_LIMIT;
    loop {
        let answer = ask(client, health, key).await?;
        let count = |what: &str| answer.body["workers"][what].as_u64().unwrap_or(0);
        let ready = count("ready") + count("running");
        let workers = answer.body["workers"].to_string();
        expect(answer, |status| status == StatusCode::OK)?;
        if ready > 0 || workers_min == 0 {
            return Ok(());
        }
        if Instant::now() >= end {
            return Err(format!("GET {health} reports no ready worker: {workers}"));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn workers_min(spec: &ReleaseSpec, worker: &str) -> u32 {
    let commands = spec.commands.iter().map(|command| &command.worker_type);
    let mut all = spec.manifest.workers.iter().chain(commands);
    all.find(|own| own.name == worker).map_or(0, |own| own.workers_min)
}

/// A GET route without arguments: calling it changes nothing.
fn harmless_path(manifest: &Manifest, worker: &str) -> Option<String> {
    manifest.functions_of(worker).find_map(|function| {
        let route = function.route.as_ref().filter(|route| route.method == "GET")?;
        let needs = function
            .arguments
            .iter()
            .any(|argument| argument.source == ArgumentSource::Path || argument.required);
        (!needs && !function.streams).then(|| route.path.clone())
    })
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
