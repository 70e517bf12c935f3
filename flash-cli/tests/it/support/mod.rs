//! Drives the real `flash` binary: starts it, reads its events, asks it over HTTP, ends it.
pub mod browser;
pub mod cluster;
pub mod deployed;
pub mod images;
pub mod kept;
pub mod reader;
pub mod receiver;
pub mod runpod;
pub mod schemathesis;
pub mod small_disk;
pub mod terminal;

pub use flash_test_support::{docker_registry as registry, skipped};

use std::{
    future::Future,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take, builds included: generous, because machines differ.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// How long anything but a build may take.
pub const SOON: Duration = Duration::from_secs(30);

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The app of the tests.
pub fn fixture() -> PathBuf {
    root().join("flash-cli/tests/fixture")
}

/// Whether these models are in `target/test-models`. `FLASH_REQUIRE_MODELS=1` forbids that they are not.
pub fn has_models(names: &[&str]) -> bool {
    let missing = names.iter().find(|name| !root().join("target/test-models").join(name).is_dir());
    if let Some(missing) = missing {
        let why = format!("target/test-models lacks {missing}; `cargo xtask models` downloads it");
        skipped::skip(skipped::Needs::Models, &why);
    }
    missing.is_none()
}

/// A crate outside of the workspace with these files in it. Built with the workspace's target directory, its
/// dependencies are there already; so the name must be that of one test.
pub fn crate_of(name: &str, files: &[(&str, &str)]) -> TempDir {
    let directory = TempDir::new().unwrap();
    crate_files(name, directory.path(), files);
    directory
}

/// As [`crate_of`], in a directory that is there. Files that are the same already stay as they are.
pub fn crate_files(name: &str, directory: &Path, files: &[(&str, &str)]) {
    let sdk = root().join("flash-sdk");
    let manifest = format!(
        r#"
[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[dependencies]
chrono = {{ version = "0.4", default-features = false, features = ["alloc", "serde"] }}
flash-sdk = {{ path = {sdk:?}, features = ["axum", "openai"] }}
futures-util = {{ version = "0.3", default-features = false, features = ["std", "sink"] }}
schemars = {{ version = "1.2", features = ["chrono04", "uuid1"] }}
serde = {{ version = "1", features = ["derive", "rc"] }}
serde_json = {{ version = "1", features = ["raw_value"] }}
tokio = {{ version = "1.54", features = ["time"] }}
tracing = {{ version = "0.1", default-features = false, features = ["std", "attributes"] }}
uuid = {{ version = "1", features = ["serde"] }}

[workspace]

[profile.dev]
debug = "line-tables-only"
[profile.dev.package."*"]
debug = false
"#
    );
    std::fs::copy(root().join("Cargo.lock"), directory.join("Cargo.lock")).unwrap();
    for (path, text) in [("Cargo.toml", manifest.as_str())].iter().chain(files) {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if std::fs::read_to_string(&path).ok().as_deref() != Some(*text) {
            std::fs::write(path, text).unwrap();
        }
    }
}

/// A copy of the fixture outside of the workspace, for a test that edits it.
pub fn copy_of_fixture(name: &str) -> TempDir {
    let directory = crate_of(name, &[]);
    std::fs::create_dir(directory.path().join("src")).unwrap();
    for entry in std::fs::read_dir(fixture().join("src")).unwrap().flatten() {
        std::fs::copy(entry.path(), directory.path().join("src").join(entry.file_name())).unwrap();
    }
    directory
}

/// Waits for a condition; the failure shows the last thing seen.
pub fn wait_for<T>(what: &str, limit: Duration, mut seen: impl FnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + limit;
    loop {
        match seen() {
            Ok(value) => return value,
            Err(last) if Instant::now() > until => panic!("{what} did not happen within {limit:?}: {last}"),
            Err(_) => std::thread::yield_now(),
        }
        // Between two looks; what is waited for is the condition.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// As [`wait_for`], for conditions that are asked for over the network.
pub async fn until<T>(what: &str, limit: Duration, mut seen: impl AsyncFnMut() -> Result<T, String>) -> T {
    let until = Instant::now() + limit;
    // Between two looks; what is waited for is the condition.
    let mut looks = tokio::time::interval(Duration::from_millis(10));
    loop {
        looks.tick().await;
        match seen().await {
            Ok(value) => return value,
            Err(last) if Instant::now() > until => panic!("{what} did not happen within {limit:?}: {last}"),
            Err(_) => {}
        }
    }
}

/// Asks a platform for `/ping` without a pause, beside what is to disturb it, and sees to it that it answers in time.
///
/// # Panics
/// When it does not. One late answer in twenty is the machine's: it has two cores, and other tests run.
pub async fn answers_pings_while<T>(client: &Client, url: &str, disturbance: impl Future<Output = T>) -> T {
    let in_time = Duration::from_millis(if cfg!(debug_assertions) { 500 } else { 100 });
    let mut taken = Vec::new();
    let pings = async {
        loop {
            let asked = Instant::now();
            let answer = client.get(format!("{url}/ping")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            taken.push(asked.elapsed());
            tokio::task::yield_now().await;
        }
    };
    let outcome = tokio::select! {
        outcome = disturbance => outcome,
        () = pings => unreachable!(),
    };
    taken.sort_unstable();
    let (count, slowest) = (taken.len(), taken.last().copied().unwrap_or_default());
    let late = taken.iter().filter(|taken| **taken > in_time).count();
    assert!(
        count > 0 && late * 20 <= count && slowest < 6 * in_time,
        "{late} of {count} late, {slowest:?} at most"
    );
    outcome
}

/// `flash` with these arguments, free of what the environment of the tests would change.
pub fn flash(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flash"));
    command.args(arguments).stdin(Stdio::null()).env("RUST_BACKTRACE", "0");
    let of_flash = ["FLASH_HOST", "FLASH_PORT", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"];
    for name in of_flash.iter().chain(&["SENTIMENT_DEVICE", "SENTIMENT_MODEL"]) {
        command.env_remove(name);
    }
    command
}

/// The target directory of tests that build for images and deployments. Cargo also locks the part of a directory that has
/// programs for this machine while it builds for a target, so with the workspace's own, each `flash run` of other tests
/// would wait for these builds.
pub fn image_target() -> PathBuf {
    root().join("target").join("test-image-builds")
}

/// Cargo with these arguments, for the workspace's target directory. Without what it tells a test of its package:
/// build scripts that watch that would run again, and much be built anew, here and in the next build without it.
pub fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(arguments).env("CARGO_TARGET_DIR", root().join("target"));
    for (name, _) in std::env::vars_os() {
        let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name.to_str().is_some_and(|name| of_package.iter().any(|own| name.starts_with(own))) {
            command.env_remove(name);
        }
    }
    command
}

/// The whole of a run that ends by itself.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `flash` to its end.
pub fn finish(arguments: &[&str], directory: &Path) -> Finished {
    finish_with(arguments, directory, &[])
}

/// Runs `flash` to its end, with these variables.
pub fn finish_with(arguments: &[&str], directory: &Path, environment: &[(&str, &str)]) -> Finished {
    let environment = environment.iter().copied();
    Finished::of(flash(arguments).current_dir(directory).envs(environment).output().unwrap())
}

impl Finished {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

#[derive(Default)]
struct Seen {
    events: Vec<Value>,
    stderr: String,
    ended: bool,
}

/// A `flash run --json` that serves.
pub struct Running {
    child: Child,
    pub url: String,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl Running {
    /// Starts it on a free port and waits until it serves.
    pub fn start(directory: &Path, arguments: &[&str]) -> Self {
        Self::start_with(directory, arguments, &[])
    }

    /// As [`Running::start`], with more environment.
    pub fn start_with(directory: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = directory.to_str().unwrap();
        let mut command = flash(&["run", directory, "--json", "--port", "0"]);
        let mut child = command
            .args(arguments)
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let seen: Arc<(Mutex<Seen>, Condvar)> = Arc::default();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let out = seen.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not an event: {line}"));
                out.0.lock().unwrap().events.push(event);
                out.1.notify_all();
            }
            out.0.lock().unwrap().ended = true;
            out.1.notify_all();
        });
        let err = seen.clone();
        std::thread::spawn(move || {
            let mut reader = stderr;
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                err.0.lock().unwrap().stderr.push_str(&String::from_utf8_lossy(&chunk[..count]));
                err.1.notify_all();
            }
        });
        let mut running = Self { child, url: String::new(), seen };
        let ready = running.event_within("ready", PATIENCE, |_| true);
        running.url = ready["url"].as_str().unwrap().to_owned();
        running
    }

    /// The process id of `flash`.
    pub fn id(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Waits for an event that fits.
    pub fn event(&self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.event_within(name, SOON, fits)
    }

    /// As [`Running::event`], with a limit.
    pub fn event_within(&self, name: &str, limit: Duration, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + limit;
        let mut seen = self.seen.0.lock().unwrap();
        let mut looked_at = 0;
        loop {
            let found = seen.events[looked_at..].iter().find(|event| event["event"] == name && fits(event));
            if let Some(event) = found {
                return event.clone();
            }
            looked_at = seen.events.len();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || seen.ended {
                let last: Vec<_> = seen.events.iter().rev().take(10).collect();
                panic!("no `{name}` event that fits; the last ones: {last:#?}\nstderr:\n{}", seen.stderr);
            }
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// How many events of this name there were.
    pub fn count(&self, name: &str, fits: impl Fn(&Value) -> bool) -> usize {
        let seen = self.seen.0.lock().unwrap();
        seen.events.iter().filter(|event| event["event"] == name && fits(event)).count()
    }

    /// Everything on stderr so far.
    pub fn stderr(&self) -> String {
        self.seen.0.lock().unwrap().stderr.clone()
    }

    /// Process ids of everything that descends from it.
    pub fn descendants(&self) -> Vec<i32> {
        descendants(self.id())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.id()), signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        wait_for("the end of flash", SOON, || {
            self.child.try_wait().unwrap().ok_or_else(|| "still runs".to_owned())
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = kill(Pid::from_raw(self.id()), Signal::SIGKILL);
            let _ = self.child.wait();
        }
    }
}

/// Children, their children, and so on, by `/proc`.
pub fn descendants(of: i32) -> Vec<i32> {
    let parents: Vec<(i32, i32)> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| {
            let id: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
            Some((id, parent))
        })
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, own)| *own == parent).map(|(id, _)| *id));
        next += 1;
    }
    found.split_off(1)
}

/// Whether a process is there; one that has ended and was not reaped yet is not.
pub fn is_alive(id: i32) -> bool {
    if kill(Pid::from_raw(id), None) == Err(Errno::ESRCH) {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    !matches!(
        stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next()),
        None | Some("Z" | "X")
    )
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    /// Its body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// An HTTP client for one test.
#[derive(Clone)]
pub struct Client(reqwest::Client);

impl Client {
    pub fn new() -> Self {
        // Another test of this process may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self(reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build().unwrap())
    }

    pub fn raw(&self) -> &reqwest::Client {
        &self.0
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: response.text().await.unwrap() }
    }

    pub async fn get(&self, url: impl AsRef<str>) -> Answer {
        self.send(self.0.get(url.as_ref())).await
    }

    pub async fn post(&self, url: impl AsRef<str>, body: Value) -> Answer {
        self.post_text(url, body.to_string()).await
    }

    pub async fn post_text(&self, url: impl AsRef<str>, body: impl Into<String>) -> Answer {
        let request = self.0.post(url.as_ref()).header("content-type", "application/json");
        self.send(request.body(body.into())).await
    }
}
