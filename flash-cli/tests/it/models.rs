//! Weights of models: `flash models`, what `flash run` does with them, and what it says when they are not there.
use std::{fs, path::Path, process::Command};

use flash_test_support::hub::{COMMIT, FakeHub};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Client, Finished, Running, crate_of, deployed::Deployed, finish_with, root};

const MAIN: &str = r#"
use flash_sdk::{ModelDir, Result, remote};

struct Reader {
    words: String,
    bytes: usize,
}

#[remote(worker = "reader", cpu = Cpu3c_1_2, model = "org/tiny@v1", files = ["*.safetensors", "words.txt"])]
impl Reader {
    #[init]
    fn load(model: ModelDir) -> Result<Self> {
        let words = std::fs::read_to_string(model.file("words.txt")?)?;
        Ok(Self { words, bytes: std::fs::read(model.join("model.safetensors"))?.len() })
    }

    pub fn read(&self) -> Result<(String, usize)> {
        Ok((self.words.clone(), self.bytes))
    }
}

#[flash_sdk::main]
async fn main() -> Result<()> {
    println!("{:?}", Reader::read().await?);
    Ok(())
}
"#;

struct App {
    hub: FakeHub,
    directory: TempDir,
    cache: TempDir,
}

impl App {
    fn new() -> Self {
        let hub = FakeHub::start();
        let weights: Vec<u8> = (0..5000).map(|at| (at % 251) as u8).collect();
        let files: [(&str, &[u8]); 3] =
            [("model.safetensors", &weights), ("words.txt", b"to be"), ("other.bin", b"nobody needs it")];
        hub.add("org/tiny", &files);
        let directory = crate_of("app-with-model", &[("src/main.rs", MAIN)]);
        Self { hub, directory, cache: TempDir::new().unwrap() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// With more, which win.
    fn environment<'a>(&'a self, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let cache = self.cache.path().to_str().unwrap();
        let mut all = vec![
            ("HF_ENDPOINT", self.hub.endpoint()),
            ("HF_HUB_CACHE", cache),
            ("HF_HUB_OFFLINE", ""),
            ("HF_TOKEN", "hf_never_shown"),
        ];
        all.extend(more);
        all
    }

    fn flash(&self, arguments: &[&str], more: &[(&str, &str)]) -> Finished {
        let target = root().join("target");
        let mut environment = self.environment(more);
        environment.push(("CARGO_TARGET_DIR", target.to_str().unwrap()));
        let finished = finish_with(arguments, self.path(), &environment);
        assert!(!format!("{finished:?}").contains("hf_never_shown"), "{finished:?}");
        finished
    }

    #[track_caller]
    fn json(&self, arguments: &[&str], more: &[(&str, &str)]) -> Value {
        let finished = self.flash(arguments, more);
        assert_eq!(finished.code, Some(0), "{finished:#?}");
        serde_json::from_str(&finished.stdout).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_pulled_once_locked_and_read_by_a_worker_and_in_process_without_a_network() {
    let app = App::new();
    let list = app.json(&["models", "list", "--json"], &[]);
    assert_eq!(
        (&list["models"][0]["state"], &list["models"][0]["locked"]),
        (&json!("missing"), &json!(false))
    );

    let offline = [("HF_HUB_OFFLINE", "1")];
    let failed = app.flash(&["run"], &offline);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    let errors: Vec<&str> = failed.stderr.lines().filter(|line| line.starts_with("error")).collect();
    assert!(
        matches!(errors[..], [one] if one.contains("`org/tiny@v1`") && one.contains("HF_HUB_OFFLINE")),
        "{failed:#?}"
    );

    let pulled = app.json(&["models", "pull", "--json"], &[]);
    assert_eq!((&pulled["models"][0]["commit"], &pulled["lock_written"]), (&json!(COMMIT), &json!(true)));
    assert_eq!(pulled["models"][0]["fetched_bytes"], 5005, "two of the three files");
    let lock: Value =
        serde_json::from_slice(&fs::read(app.path().join("flash.models.lock")).unwrap()).unwrap();
    let locked = &lock["models"]["org/tiny@v1"];
    assert_eq!((&locked["commit"], &locked["files"]["words.txt"]["size"]), (&json!(COMMIT), &json!(5)));

    let asked = app.hub.requests().len();
    assert_eq!(app.json(&["models", "pull", "--json"], &[])["models"][0]["fetched_bytes"], 0);
    let list = app.json(&["models", "list", "--json"], &[]);
    assert_eq!((&list["models"][0]["state"], &list["models"][0]["locked"]), (&json!("here"), &json!(true)));

    let target = root().join("target");
    let mut environment = app.environment(&[]);
    environment.push(("CARGO_TARGET_DIR", target.to_str().unwrap()));
    let running = Running::start_with(app.path(), &["--no-reload"], &environment);
    let answer = Client::new().post(&format!("{}/main/read/run_sync", running.url), json!({})).await;
    assert_eq!(answer.json()["output"], json!(["to be", 5000]));
    drop(running);
    assert_eq!(app.hub.requests().len(), asked, "nothing of this needs the network");

    let alone = Command::new(target.join("debug/app-with-model"))
        .envs(app.environment(&[]))
        .env("CARGO_MANIFEST_DIR", app.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&alone.stdout), "(\"to be\", 5000)\n", "{alone:?}");
    let empty = TempDir::new().unwrap();
    let without = Command::new(target.join("debug/app-with-model"))
        .env("HF_HUB_CACHE", empty.path())
        .env("CARGO_MANIFEST_DIR", app.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&without.stderr).into_owned();
    assert!(!without.status.success() && said.contains("run `flash models pull`"), "{said}");

    let blob = app.cache.path().join("models--org--tiny/snapshots").join(COMMIT).join("model.safetensors");
    fs::write(fs::canonicalize(&blob).unwrap(), vec![0; 5000]).unwrap();
    let damaged = app.flash(&["models", "verify"], &offline);
    assert_eq!(damaged.code, Some(1), "{damaged:#?}");
    assert!(
        damaged.stderr.contains("`model.safetensors` of `org/tiny@v1` has other content"),
        "{damaged:#?}"
    );
    assert_eq!(app.json(&["models", "pull", "--json"], &[])["models"][0]["fetched_bytes"], 5000);
    assert_eq!(app.json(&["models", "verify", "--json"], &offline)["whole"], true);
    let kept = app.json(&["models", "prune", "--json"], &[]);
    assert_eq!(kept["models"][0]["removed"]["blobs"], 0, "{kept}");
}

#[test]
fn a_deployment_demands_the_lock_fetches_before_a_worker_starts_and_says_which_commit() {
    let hub = FakeHub::start();
    hub.add("org/tiny", &[("words.txt", b"or not to be")]);
    let app = Deployed::new("");
    let source = fs::read_to_string(app.path().join("src/main.rs")).unwrap();
    let reader = r#"
struct Reader(String);

#[flash_sdk::remote(worker = "reader", cpu = Cpu3c_1_2, workers = 1..=1, model = "org/tiny@v1")]
impl Reader {
    #[init]
    fn load(model: flash_sdk::ModelDir) -> flash_sdk::Result<Self> {
        Ok(Self(std::fs::read_to_string(model.file("words.txt")?)?))
    }

    pub fn read(&self) -> flash_sdk::Result<String> {
        Ok(self.0.clone())
    }
}
"#;
    fs::write(app.path().join("src/main.rs"), source + reader).unwrap();
    let lock = app.path().join("flash.models.lock");
    let _ = fs::remove_file(&lock);
    let cache = TempDir::new().unwrap();
    let flash = |arguments: &[&str]| {
        let mut command = app.command(arguments);
        command.env("HF_ENDPOINT", hub.endpoint()).env("HF_HUB_CACHE", cache.path());
        Finished::of(command.output().unwrap())
    };
    let succeeds = |arguments: &[&str]| {
        let finished = flash(arguments);
        assert_eq!(finished.code, Some(0), "flash {arguments:?}: {finished:#?}");
        finished
    };
    let sending = app.sending(&[]);
    succeeds(&["deploy", "new", "production"]);
    let refused = flash(&sending);
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    for part in
        ["there is no flash.models.lock", "`org/tiny@v1`", "worker type `reader`", "flash models pull"]
    {
        assert!(refused.stderr.contains(part), "{part}: {refused:#?}");
    }
    succeeds(&["models", "pull"]);
    // As on another machine: the lock is there, and the files are not.
    fs::remove_dir_all(cache.path().join("models--org--tiny")).unwrap();
    let sent = succeeds(&sending);
    let text = format!("{}{}", sent.stdout, sent.stderr);
    assert!(text.contains("org/tiny@v1 at 0123456789ab, from this machine's cache"), "{text}");
    let called = succeeds(&["call", "production", "read"]);
    assert!(called.stdout.contains("or not to be"), "{called:#?}");

    let locked = fs::read_to_string(&lock).unwrap();
    fs::write(&lock, locked.replace("org/tiny@v1", "org/tiny@v2")).unwrap();
    let refused = flash(&sending);
    assert!(
        refused.stderr.contains("`org/tiny@v1` of worker type `reader` is not in flash.models.lock"),
        "{refused:#?}"
    );
    fs::remove_file(&lock).unwrap();
}
