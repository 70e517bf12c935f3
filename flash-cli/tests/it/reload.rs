//! Hot reload of an app that the test edits.
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::json;
use tempfile::TempDir;

use crate::support::{Client, PATIENCE, Running, SOON, crate_files, crate_of, root, until, wait_for};

const APP: &str = include_str!("reload/app.rs");

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// That of a new app, and its directory.
    fn of_app(name: &str) -> (TempDir, Self) {
        let directory = crate_of(name, &[("src/main.rs", APP)]);
        let path = directory.path().join("src/main.rs");
        (directory, Self { text: APP.to_owned(), path })
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
    let (directory, source) = Source::of_app("reloaded-app");
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

    source.write_with("VERSION: &str = \"one\"", "VERSION: &str = \"two\"");
    app.event_within("reload", PATIENCE, |event| event["ok"] == true);

    source.write_with("VERSION: &str = \"one\"", "VERSION: &str = 3");
    let failed = app.event_within("reload", PATIENCE, |event| event["ok"] == false);
    assert!(failed["error"].as_str().unwrap().contains("the build of `reloaded-app` failed"), "{failed}");
    assert!(app.stderr().contains("mismatched types"), "cargo's own message is shown");

    let (client, dashboard) = (Client::new(), format!("{}/_flash/", app.url));
    let page = client.get(&dashboard).await.text;
    assert!(page.contains("The latest changes do not build") && page.contains("mismatched types"), "{page}");
    assert!(page.contains("src/main.rs:"), "the place is told too: {page}");

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
    let page = client.get(&dashboard).await.text;
    assert!(!page.contains("The latest changes do not build"), "{page}");
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
    let (directory, source) = Source::of_app("refused-app");
    let target = root().join("target");
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    let app = Running::start_with(directory.path(), &[], &environment);
    source.write_with("path = \"/leave\"", "path = \"/greet\"");
    let failed = app.event_within("reload", PATIENCE, |event| event["ok"] == false);
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("POST /greet is served twice"), "{error}");
    for line in ["main.rs:", "`greet_over`", "`leave`"] {
        assert!(error.contains(line), "both places are named: {error}");
    }
    let answer = Client::new().post(format!("{}/greet", app.url), json!({ "name": "x" })).await;
    assert_eq!(answer.json()["greeting"], "one: hello x");
}

/// Writes a file with all directories above it.
fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Waits until the app says this. Each edit is one more step of a path on which nothing may be lost.
async fn says(app: &Running, expected: &str) {
    let (client, url) = (Client::new(), format!("{}/said", app.url));
    until(expected, PATIENCE, async || {
        let answer = client.get(&url).await;
        match answer.status == 200 && answer.json() == expected {
            true => Ok(()),
            false => Err(format!("{answer:?}\n{}", app.stderr())),
        }
    })
    .await;
}

fn saying(expression: &str) -> String {
    let route = r#"worker = "said", cpu = Cpu3c_1_2, workers = 0..=1, method = GET, path = "/said""#;
    format!(
        "//! Says something.\n#[flash_sdk::remote({route})]\npub async fn said() -> flash_sdk::Result<String> {{\n    \
         Ok({expression})\n}}\n\n#[flash_sdk::main]\nasync fn main() -> flash_sdk::Result<()> {{\n    Ok(())\n}}\n"
    )
}

#[tokio::test]
async fn what_is_served_is_what_is_on_the_disk() {
    let held = TempDir::new().unwrap();
    let place = held.path().canonicalize().unwrap();
    // A directory of this name is cargo's only where cargo says so.
    let directory = place.join("target/app");
    let (manifest, source) = (directory.join("Cargo.toml"), directory.join("src/main.rs"));
    std::fs::create_dir_all(&directory).unwrap();
    crate_files("moved-app", &directory, &[("src/main.rs", &saying("\"first\".to_owned()"))]);
    let target = root().join("target");
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
    let app = Running::start_with(&directory, &[], &environment);
    says(&app, "first").await;

    // Sources that go and come back are still watched.
    std::fs::remove_dir_all(directory.join("src")).unwrap();
    app.event_within("reload", PATIENCE, |event| event["ok"] == false);
    write(&source, &saying("\"restored\".to_owned()"));
    says(&app, "restored").await;

    // All at once: another name, a module in a new directory, a crate by path, and files from elsewhere.
    let (words, text, asked) = (place.join("words"), place.join("text.txt"), place.join("asked/for.txt"));
    write(
        &words.join("Cargo.toml"),
        "[package]\nname = \"words\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    write(&words.join("src/lib.rs"), "//! Words.\n/// One.\npub const WORD: &str = \"word\";\n");
    write(&text, "text");
    write(&asked, "asked");
    write(
        &directory.join("build.rs"),
        "//! Reads a file.\nfn main() {\n    println!(\"cargo::rerun-if-changed=../../asked/for.txt\");\n    let asked = \
         std::fs::read_to_string(\"../../asked/for.txt\").unwrap();\n    println!(\"cargo::rustc-env=ASKED={asked}\");\n}\n",
    );
    write(&directory.join("src/target/mod.rs"), "/// Where to.\npub const GOAL: &str = \"goal\";\n");
    let all = "[words::WORD, target::GOAL, include_str!(\"../../../text.txt\"), env!(\"ASKED\")].join(\" \")";
    write(&source, &saying(all).replace("#[flash_sdk::remote", "mod target;\n\n#[flash_sdk::remote"));
    let renamed = std::fs::read_to_string(&manifest).unwrap().replace("moved-app", "renamed-app");
    write(
        &manifest,
        &renamed.replace("[dependencies]", "[dependencies]\nwords = { path = \"../../words\" }"),
    );
    says(&app, "word goal text asked").await;

    // None of these was there when `flash run` started.
    write(&words.join("src/lib.rs"), "//! Words.\n/// One.\npub const WORD: &str = \"WORD\";\n");
    says(&app, "WORD goal text asked").await;
    write(&text, "TEXT");
    says(&app, "WORD goal TEXT asked").await;
    write(&asked, "ASKED");
    says(&app, "WORD goal TEXT ASKED").await;
    write(&directory.join("src/target/mod.rs"), "/// Where to.\npub const GOAL: &str = \"GOAL\";\n");
    says(&app, "WORD GOAL TEXT ASKED").await;

    // A manifest that cargo cannot read is told with cargo's words; the app goes on.
    let told = |event: &serde_json::Value| {
        event["error"].as_str().is_some_and(|error| error.contains("cargo cannot read"))
    };
    let before = app.count("reload", told);
    write(&manifest, "[package\n");
    wait_for("cargo's word on the manifest", PATIENCE, || match app.count("reload", told) > before {
        true => Ok(()),
        false => Err(app.stderr()),
    });
    says(&app, "WORD GOAL TEXT ASKED").await;
}
