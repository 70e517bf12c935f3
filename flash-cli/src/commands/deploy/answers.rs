//! Whether every endpoint of a release that has traffic answers.
use std::time::{Duration, Instant};

use flash_protocol::manifest::{ArgumentSource, EndpointKind, Manifest};
use flash_target::{DeployedEndpoint, Environment, ReleaseSpec, SecretValue, TargetKind};
use flash_text::error_chain;
use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::exit::{Failure, FailureCode};

/// How long one endpoint may take to answer. Its workers are already ready, but a request may be slow.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// How often an endpoint without a ready worker is polled.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Checks that every endpoint answers.
///
/// # Errors
/// Which do not, and why. The release has traffic all the same.
pub(super) async fn check(
    environment: &Environment,
    spec: &ReleaseSpec,
    key: &SecretValue,
    name: &str,
) -> Result<(), Failure> {
    let mut client = flash_http::client().timeout(ANSWER_LIMIT);
    if environment.target != TargetKind::Runpod {
        client = client.no_proxy();
    }
    let client = client.build().map_err(|error| Failure::of(FailureCode::Failed, &error))?;
    let mut wrong = Vec::new();
    for endpoint in &environment.endpoints {
        if let Err(unanswered) = answers(&client, (environment, endpoint), spec, key).await {
            wrong.push((&endpoint.worker, unanswered));
        }
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let is_key_rejected = wrong.iter().any(|(_, reason)| matches!(reason, Unanswered::KeyRejected { .. }));
    let hint = match (is_key_rejected, environment.target) {
        (true, TargetKind::Runpod) => {
            "log in with a key that is allowed to call endpoints: flash login".to_owned()
        }
        (true, TargetKind::Local | TargetKind::Kubernetes) => {
            format!("make a new key: flash key new {name} --use")
        }
        (false, _) => {
            format!("see its workers' logs: flash logs {name}; go back: flash deploy rollback {name}")
        }
    };
    let lines: Vec<String> = wrong.iter().map(|(worker, reason)| format!("{worker}: {reason}")).collect();
    Err(Failure::failed(format!(
        "the release has traffic, but not every endpoint answers\n  {}",
        lines.join("\n  ")
    ))
    .hint(hint))
}

/// Why an endpoint does not count as answering.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("GET {url}: {}", error_chain(cause))]
    NoAnswer { url: String, cause: reqwest::Error },
    #[error("GET {url} rejected the key ({status})")]
    KeyRejected { url: String, status: StatusCode },
    #[error("GET {url} answered {status}")]
    WrongStatus { url: String, status: StatusCode },
    #[error("GET {url} reports no ready worker: {workers}")]
    NoReadyWorker { url: String, workers: String },
}

/// Checks a queue by its health; a load-balanced endpoint by a route that any request may call, else by its health
/// and a ready worker.
async fn answers(
    client: &Client,
    (environment, endpoint): (&Environment, &DeployedEndpoint),
    spec: &ReleaseSpec,
    key: &SecretValue,
) -> Result<(), Unanswered> {
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

async fn ask(client: &Client, url: &str, key: &SecretValue) -> Result<Answer, Unanswered> {
    // The message already has the URL.
    let failed =
        |cause: reqwest::Error| Unanswered::NoAnswer { url: url.to_owned(), cause: cause.without_url() };
    let asked = client.get(url).bearer_auth(key.expose()).send().await.map_err(failed)?;
    let status = asked.status();
    let body = asked.bytes().await.map_err(failed)?;
    Ok(Answer { url: url.to_owned(), status, body: serde_json::from_slice(&body).unwrap_or_default() })
}

fn expect(answer: Answer, is_good: impl Fn(StatusCode) -> bool) -> Result<(), Unanswered> {
    let Answer { url, status, .. } = answer;
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Unanswered::KeyRejected { url, status }),
        _ if is_good(status) => Ok(()),
        _ => Err(Unanswered::WrongStatus { url, status }),
    }
}

/// Workers come and go: wait for one that is being replaced.
async fn has_ready_worker(
    client: &Client,
    health: &str,
    workers_min: u32,
    key: &SecretValue,
) -> Result<(), Unanswered> {
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
            return Err(Unanswered::NoReadyWorker { url: health.to_owned(), workers });
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
