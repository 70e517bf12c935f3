//! Hot reload on a copy of the fixture app that the test edits.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod support;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;
use support::{Client, PATIENCE, Running, SOON, copy_of_fixture, root, wait_for};
use tempfile::TempDir;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn of(directory: &TempDir, file: &str) -> Self {
        let path = directory.path().join("src").join(file);
        Self { text: std::fs::read_to_string(&path).unwrap(), path }
    }

    fn write_with(&self, from: &str, to: &str) {
        self.write_with_more(from, to, "");
    }

    /// As [`Source::write_with`], with more at the end.
    fn write_with_more(&self, from: &str, to: &str, more: &str) {
        assert!(self.text.contains(from), "{from}");
        std::fs::write(&self.path, self.text.replace(from, to) + more).unwrap();
    }
}

// Two threads: the callers go on while the test waits for an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_drops_no_request_and_a_compile_error_keeps_the_old_version() {
    let directory = copy_of_fixture("reloaded-app");
    let target = root().join("target");
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    let app = Running::start_with(directory.path(), &[], &environment);

    // Callers that never pause: each answer must be whole, of one version, and good.
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (stop, url, client) = (stop.clone(), format!("{}/greet", app.url), Client::new());
            tokio::spawn(async move {
                let mut versions: Vec<String> = Vec::new();
                let mut answers = 0;
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.post(&url, json!({ "name": "x" })).await;
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let greeting = answer.json()["greeting"].as_str().unwrap().to_owned();
                    let version = greeting.split(':').next().unwrap().to_owned();
                    if versions.last() != Some(&version) {
                        versions.push(version);
                    }
                    answers += 1;
                }
                (versions, answers)
            })
        })
        .collect();

    let source = Source::of(&directory, "jobs.rs");
    source.write_with("VERSION: &str = \"one\"", "VERSION: &str = \"two\"");
    app.event_within("reload", PATIENCE, |event| event["ok"] == true);

    source.write_with("VERSION: &str = \"one\"", "VERSION: &str = 3");
    let failed = app.event_within("reload", PATIENCE, |event| event["ok"] == false);
    assert!(failed["error"].as_str().unwrap().contains("the build of `reloaded-app` failed"), "{failed}");
    assert!(app.stderr().contains("mismatched types"), "cargo's own message is shown");

    let told = ["+ function", "~ function", "- function", "Try"].map(|part| app.stderr().contains(part));
    assert_eq!(told, [false; 4], "no function has changed yet: {}", app.stderr());

    let more = "\n/// Was not there.\n#[remote(worker = \"added\", cpu = Cpu3c_1_2)]\npub async fn added_later(number: u32) -> \
                flash_sdk::Result<u32> {\n    Ok(number)\n}\n";
    source.write_with_more("VERSION: &str = \"one\"", "VERSION: &str = \"four\"", more);
    let reloads = || app.count("reload", |event| event["ok"] == true);
    let until = std::time::Instant::now() + PATIENCE;
    while reloads() < 2 {
        assert!(std::time::Instant::now() < until, "{}", app.stderr());
        tokio::task::yield_now().await;
    }
    wait_for("what is new", SOON, || {
        let told = app.stderr();
        let is_told = told.contains("+ function     added_later") && told.contains("/added_later/run_sync");
        if is_told { Ok(()) } else { Err(told) }
    });
    let client = Client::new();
    let after = client.post(format!("{}/greet", app.url), json!({ "name": "x" })).await;
    assert_eq!(after.json()["greeting"], "four: hello x");
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        let (versions, answers) = caller.await.unwrap();
        assert_eq!(versions, ["one", "two", "four"], "each version once and in order");
        assert!(answers > 10, "{answers} answers");
    }
}

#[tokio::test]
async fn an_app_that_cannot_work_keeps_the_old_version_too() {
    let directory = copy_of_fixture("refused-app");
    let target = root().join("target");
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    let app = Running::start_with(directory.path(), &[], &environment);
    let source = Source::of(&directory, "web.rs");
    source.write_with("path = \"/fail\"", "path = \"/sleep\"");
    let failed = app.event_within("reload", PATIENCE, |event| event["ok"] == false);
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("POST /sleep is served twice"), "{error}");
    for line in ["web.rs:", "`sleep_over`"] {
        assert!(error.contains(line), "both places are named: {error}");
    }
    let answer = Client::new().get(format!("{}/items/7", app.url)).await;
    assert_eq!(answer.json()["version"], "one");
}
