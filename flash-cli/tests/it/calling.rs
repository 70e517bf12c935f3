//! Calling what runs elsewhere from ordinary code: the app's own `main` by `FLASH_ENV`, and any program by `Endpoint`.
use std::{collections::BTreeMap, process::Command, time::Duration};

use flash_protocol::credentials::{Credentials, EnvironmentCredentials};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Finished, Running, crate_of, root};

/// An app whose `main` calls its own functions, or does with `Endpoint` what can be done with it.
const MAIN: &str = r#"
use flash_sdk::{Endpoint, Error, Priority, Result, endpoint::JobOptions, join_all, remote};
use futures_util::{Stream, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

#[remote(worker = "pre", cpu = Cpu3c_1_2, workers = 0..=2, idle_timeout = 60)]
pub async fn upper(text: String) -> Result<String> {
    Ok(text.to_uppercase())
}

#[remote(worker = "pre")]
pub async fn process() -> Result<u32> {
    Ok(std::process::id())
}

#[remote(worker = "pre")]
pub async fn fail(message: String) -> Result<()> {
    Err(Error::handler("the disk is full").context(message))
}

#[remote(worker = "counter", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 60)]
pub fn count(to: u32) -> impl Stream<Item = Result<u32>> {
    futures_util::stream::iter((1..=to).map(Ok))
}

#[remote(worker = "held", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 60)]
pub async fn hold() -> Result<()> {
    std::future::pending().await
}

#[remote(worker = "web", cpu = Cpu3c_1_2, workers = 0..=1, idle_timeout = 60, method = POST, path = "/greet/{name}")]
pub async fn greet(name: String, loud: bool) -> Result<Value> {
    let name = if loud { upper(name).await? } else { name };
    Ok(json!({ "hello": name, "process": std::process::id() }))
}

async fn functions() -> Result<Value> {
    let handle = upper::spawn("spawned".to_owned()).await?;
    let chunks: Vec<u32> = count(3).try_collect().await?;
    let mut mapped: Vec<(usize, String)> = upper::map(["a".to_owned(), "b".to_owned()])
        .map(|(index, result)| result.map(|text| (index, text)))
        .try_collect()
        .await?;
    mapped.sort();
    let options = upper::options().timeout(std::time::Duration::from_secs(60)).priority(Priority::Low);
    let once = options.clone().idempotency_key("k-17");
    let (first, again) = (once.clone().spawn("k".to_owned()).await?, once.clone().spawn("k".to_owned()).await?);
    let same = first.id() == again.id();
    let found = upper::handle(first.id()).map(|handle| handle.id() == first.id());
    let ordered: Vec<String> = options.map_ordered(["c".to_owned(), "b".to_owned()]).try_collect().await?;
    let failed = fail("no".to_owned()).await.unwrap_err();
    let by_name: Option<String> = match Endpoint::of("pre") {
        Ok(pre) => Some(pre.function("upper").run_sync(&json!({ "text": "by name" })).await?),
        Err(_) => None,
    };
    Ok(json!({
        "own": std::process::id(),
        "called": process().await?,
        "upper": upper("abc".to_owned()).await?,
        "spawned": handle.wait().await?,
        "chunks": chunks,
        "mapped": mapped,
        "keyed": [once.call("k".to_owned()).await?],
        "joined": join_all([first, again]).await.into_iter().collect::<Result<Vec<_>>>()?,
        "same": same,
        "found": found.unwrap_or_default(),
        "ordered": ordered,
        "chunks_with_options": count::options().ttl(std::time::Duration::from_secs(60)).stream(2).try_collect::<Vec<_>>().await?,
        "greeting": greet("you".to_owned(), true).await?,
        "failed": [failed.kind().as_str(), format!("{failed:#}"), failed.stage().unwrap_or_default()],
        "by_name": by_name,
    }))
}

async fn endpoint(url: &str) -> Result<Value> {
    // The key is in FLASH_API_KEY.
    let pre = Endpoint::new(&format!("{url}/v2/pre"));
    let upper = pre.clone().function("upper");
    let now: String = upper.run_sync(&json!({ "text": "abc" })).await?;
    let job = upper.run(&json!({ "text": "later" })).await?;
    let ended = job.ended().await?;
    let later: String = upper.job(job.id()).wait().await?;

    let once = JobOptions::new().idempotency_key("k-1").ttl(std::time::Duration::from_secs(600));
    let first = upper.run_with(&json!({ "text": "once" }), &once).await?;
    let again = upper.run_with(&json!({ "text": "once" }), &once).await?;

    // A worker type with one function needs no name.
    let count = Endpoint::new(&format!("{url}/v2/counter")).run(&json!({ "to": 3 })).await?;
    let chunks: Vec<u32> = count.stream::<u32>().try_collect().await?;

    let held = Endpoint::new(&format!("{url}/v2/held"));
    let running = held.run(&json!({ "any": 1 })).await?;
    let waiting = held.run(&json!({ "any": 2 })).await?;
    while running.status().await?.as_str() != "IN_PROGRESS" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let health = held.health().await?;
    let purged = held.purge().await?;
    running.cancel().await?;
    let cancelled = running.wait::<Value>().await.unwrap_err();
    let gone = waiting.status().await;
    let impatient = held.clone().timeout(std::time::Duration::from_secs(1));
    let late = impatient.run_sync::<_, Value>(&json!({ "any": 3 })).await.unwrap_err();

    let failed = pre.clone().function("fail").run_sync::<_, Value>(&json!({ "message": "no" })).await.unwrap_err();
    let unfit = upper.run_sync::<_, Value>(&json!({ "txt": 1 })).await.unwrap_err();
    let refused = upper.clone().key("wrong").run_sync::<_, Value>(&json!({ "text": "x" })).await.unwrap_err();
    let unknown = pre.job("no-such-job").status().await.unwrap_err();
    let elsewhere = Endpoint::new("http://127.0.0.1:1/v2/pre").retries(1);
    let unreachable = elsewhere.run(&json!({ "text": "x" })).await.unwrap_err();

    let web = Endpoint::new(&format!("{url}/v2/web"));
    let answer = web.request("post", "/greet/you").json(&json!({ "loud": false })).send().await?;
    let routed: Value = answer.json()?;
    let missing = web.request("GET", "/nowhere").send().await?;
    Ok(json!({
        "now": now,
        "later": [later, ended.status.as_str()],
        "request": job.request_id().is_some(),
        "once": first.id() == again.id(),
        "chunks": chunks,
        "health": [health.jobs.in_progress, health.jobs.in_queue, health.workers.running],
        "purged": purged,
        "gone": gone.map(|status| status.as_str()).unwrap_or("forgotten"),
        "cancelled": cancelled.kind().as_str(),
        "late": late.kind().as_str(),
        "failed": [failed.kind().as_str(), format!("{failed:#}"), failed.stage().unwrap_or_default()],
        "traced": failed.request_id().is_some(),
        "unfit": [unfit.kind().as_str(), unfit.fields()[0].path.clone()],
        "refused": refused.kind().as_str(),
        "unknown": unknown.kind().as_str(),
        "unreachable": [unreachable.kind().as_str(), unreachable.is_retryable().to_string()],
        "routed": routed["hello"],
        "status": [answer.status(), missing.status()],
        "traced_route": answer.header("x-request-id").is_some(),
    }))
}

/// Calls another environment, by name or URL.
async fn elsewhere(at: &str) -> Result<Value> {
    let job = upper::at(at).spawn("job".to_owned()).await?;
    let found = upper::at(at).handle(job.id())?.wait().await?;
    Ok(json!({
        "own": std::process::id(),
        "here": process().await?,
        "there": process::at(at).call(()).await?,
        "upper": upper::options().at(at).map_ordered(["a".to_owned()]).try_collect::<Vec<_>>().await?,
        "found": [job.wait().await?, found],
        "chunks": count::at(at).stream(2).try_collect::<Vec<_>>().await?,
        "greeting": greet::at(at).call(("you".to_owned(), false)).await?["hello"],
    }))
}

#[flash_sdk::main]
async fn main() -> Result<()> {
    if let Ok(at) = std::env::var("AT") {
        println!("{}", elsewhere(&at).await?);
        return Ok(());
    }
    let said = match std::env::args().nth(1) {
        Some(url) => endpoint(&url).await?,
        None => functions().await?,
    };
    println!("{said}");
    Ok(())
}
"#;

const KEY: &str = "test-key-of-calling";

/// The app, and a configuration directory.
struct App {
    directory: TempDir,
    configuration: TempDir,
    /// The binary, once it is built.
    name: &'static str,
}

impl App {
    fn new(name: &'static str) -> Self {
        let directory = crate_of(name, &[("src/main.rs", MAIN)]);
        Self { directory, configuration: TempDir::new().unwrap(), name }
    }

    fn serve(&self) -> Running {
        let target = root().join("target");
        let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap()), ("FLASH_API_KEY", KEY)];
        Running::start_with(self.directory.path(), &["--no-reload"], &environment)
    }

    /// Writes what `flash deploy` would write.
    fn know(&self, environment: &str, url: &str, key: &str) {
        let queue = |name: &str| (name.to_owned(), format!("{url}/v2/{name}"));
        let mut endpoints: BTreeMap<String, String> = ["pre", "counter", "held"].map(queue).into();
        endpoints.insert("web".to_owned(), format!("{url}/web"));
        let known = EnvironmentCredentials { key: key.to_owned(), url: Some(url.to_owned()), endpoints };
        let of_app = BTreeMap::from([(environment.to_owned(), known)]);
        let all = Credentials { version: 1, environments: BTreeMap::from([(self.name.to_owned(), of_app)]) };
        let path = Credentials::path(self.configuration.path());
        std::fs::write(path, serde_json::to_string(&all).unwrap()).unwrap();
    }

    /// Runs the app's own `main`.
    fn main(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let mut command = Command::new(root().join("target/debug").join(self.name));
        for name in ["FLASH_ENV", "FLASH_ENDPOINTS", "FLASH_API_KEY", "RUNPOD_API_KEY"] {
            command.env_remove(name);
        }
        command.args(arguments).env("FLASH_CONFIG_DIR", self.configuration.path());
        Finished::of(command.envs(environment.iter().copied()).output().unwrap())
    }
}

fn said(finished: &Finished) -> Value {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    serde_json::from_str(&finished.stdout).unwrap()
}

#[test]
fn main_calls_the_environment_that_flash_env_names_and_itself_without() {
    let app = App::new("calling-by-env");
    let running = app.serve();
    app.know("production", &running.url, KEY);
    let (own_key, wrong_key) = ([("FLASH_ENV", "production")], ("FLASH_API_KEY", "wrong"));

    let remote = said(&app.main(&[], &own_key));
    assert_ne!(remote["own"], remote["called"], "{remote}");
    assert_ne!(remote["own"], remote["greeting"]["process"], "{remote}");
    assert_eq!(remote["by_name"], "BY NAME");
    assert_eq!((&remote["same"], &remote["found"]), (&json!(true), &json!(true)), "{remote}");

    let here = said(&app.main(&[], &[]));
    assert_eq!((&here["own"], &here["called"]), (&here["own"], &here["own"]), "{here}");
    assert_eq!(here["own"], here["greeting"]["process"]);
    assert_eq!(here["by_name"], Value::Null);
    assert_eq!((&here["same"], &here["found"]), (&json!(false), &json!(false)), "{here}");
    for said in [&remote, &here] {
        assert_eq!((&said["upper"], &said["spawned"]), (&json!("ABC"), &json!("SPAWNED")), "{said}");
        assert_eq!((&said["chunks"], &said["mapped"]), (&json!([1, 2, 3]), &json!([[0, "A"], [1, "B"]])));
        assert_eq!((&said["keyed"], &said["joined"]), (&json!(["K"]), &json!(["K", "K"])), "{said}");
        assert_eq!((&said["ordered"], &said["chunks_with_options"]), (&json!(["C", "B"]), &json!([1, 2])));
        assert_eq!(said["greeting"]["hello"], "YOU");
        assert_eq!(said["failed"], json!(["handler", "no: the disk is full", "pre/fail"]));
    }

    // By name from the file, by URL, and by name from variables: a call of one environment, without `FLASH_ENV`.
    let key = ("FLASH_API_KEY", KEY);
    let variables = [
        ("AT", "other/eu-west"),
        ("FLASH_ENVIRONMENT_OTHER_EU_WEST_URL", running.url.as_str()),
        ("FLASH_ENVIRONMENT_OTHER_EU_WEST_KEY", KEY),
    ];
    for environment in [&[("AT", "production")][..], &[("AT", &running.url), key], &variables] {
        let said = said(&app.main(&[], environment));
        assert_eq!(said["own"], said["here"], "{said}");
        assert_ne!(said["own"], said["there"], "{said}");
        assert_eq!((&said["upper"], &said["found"]), (&json!(["A"]), &json!(["JOB", "JOB"])), "{said}");
        assert_eq!((&said["chunks"], &said["greeting"]), (&json!([1, 2]), &json!("you")), "{said}");
    }
    let unknown = app.main(&[], &[("AT", "staging")]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    for part in
        ["environment `staging` is not known", "flash deploy send staging", "FLASH_ENVIRONMENT_STAGING_URL"]
    {
        assert!(unknown.stderr.contains(part), "{part}: {unknown:?}");
    }

    let refused = app.main(&[], &[own_key[0], wrong_key]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(!format!("{refused:?}").contains(KEY), "{refused:?}");

    let unknown = app.main(&[], &[("FLASH_ENV", "staging")]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    let file = Credentials::path(app.configuration.path());
    for part in [file.to_str().unwrap(), "`staging` of `calling-by-env`", "flash deploy send staging"] {
        assert!(unknown.stderr.contains(part), "{part}: {unknown:?}");
    }
}

#[test]
fn an_endpoint_can_be_used_from_any_program() {
    let app = App::new("calling-endpoint");
    let running = app.serve();
    let said = said(&app.main(&[&running.url], &[("FLASH_API_KEY", KEY)]));
    assert_eq!(
        said,
        json!({
            "now": "ABC",
            "later": ["LATER", "COMPLETED"],
            "request": true,
            "once": true,
            "chunks": [1, 2, 3],
            "health": [1, 1, 1],
            "purged": 1,
            "gone": said["gone"],
            "cancelled": "cancelled",
            "late": "timeout",
            "failed": ["handler", "no: the disk is full", "pre/fail"],
            "traced": true,
            "unfit": ["invalid_input", "/text"],
            "refused": "refused",
            "unknown": "not_found",
            "unreachable": ["transport", "true"],
            "routed": "you",
            "status": [200, 404],
            "traced_route": true,
        })
    );
    assert_ne!(said["gone"], "COMPLETED");
    running.event_within("log", Duration::from_secs(30), |line| line["worker_type"] == "pre");
}
