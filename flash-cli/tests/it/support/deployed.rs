//! An app that is deployed, with a background service, data and credentials of its own.
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{Answer, Client, Finished, crate_files, flash, image_target, is_alive, root, wait_for};

/// What the app does.
const SOURCE: &str = include_str!("../deploy/app.rs");

/// The app's package.
pub const APP: &str = "deployed-app";

/// See the module. All of them have the crate in one place, one after the other: where a crate lies is among the
/// flags of all that it is built from, so that each place would build everything.
pub struct Deployed {
    directory: PathBuf,
    data: TempDir,
    config: TempDir,
    _alone: Flock<File>,
}

impl Deployed {
    /// With version `one` of the app; nothing is deployed.
    pub fn new(settings: &str) -> Self {
        let place = root().join("target/test-deploy");
        std::fs::create_dir_all(&place).unwrap();
        let lock = File::create(place.join("lock")).unwrap();
        let alone = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
        let directory = place.join("app");
        std::fs::create_dir_all(&directory).unwrap();
        let files = [("src/main.rs", SOURCE), ("flash.toml", settings), ("model/weights.bin", "0123456789")];
        crate_files(APP, &directory, &files);
        // Should a test before have ended in the midst of something.
        for left in [".env", ".flash"] {
            let left = directory.join(left);
            let _ = if left.is_dir() { std::fs::remove_dir_all(left) } else { std::fs::remove_file(left) };
        }
        Self { directory, data: TempDir::new().unwrap(), config: TempDir::new().unwrap(), _alone: alone }
    }

    /// With the environment `production`, and version `one` live in it.
    pub fn live(settings: &str) -> Self {
        let app = Self::new(settings);
        app.succeeds(&["deploy", "new", "production"]);
        app.send(&[]);
        app
    }

    pub fn path(&self) -> &Path {
        &self.directory
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub fn config(&self) -> &Path {
        self.config.path()
    }

    /// The data of the environment `production`.
    pub fn environment(&self) -> PathBuf {
        self.data().join("environments").join(APP).join("production")
    }

    /// Replaces text in the source.
    pub fn edit(&self, from: &str, to: &str) {
        let path = self.directory.join("src/main.rs");
        let source = std::fs::read_to_string(&path).unwrap();
        assert!(source.contains(from), "the source has no `{from}`");
        std::fs::write(path, source.replace(from, to)).unwrap();
    }

    /// The version that the source says.
    pub fn version(&self, from: &str, to: &str) {
        self.edit(&format!("VERSION: &str = \"{from}\""), &format!("VERSION: &str = \"{to}\""));
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = flash(arguments);
        command
            .current_dir(&self.directory)
            .env("FLASH_DATA_DIR", self.data())
            .env("FLASH_CONFIG_DIR", self.config())
            .env("CARGO_TARGET_DIR", image_target())
            .env_remove("FLASH_ENV")
            .env_remove("FLASH_API_KEY");
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.command(arguments).output().unwrap())
    }

    /// Runs a command that must end well.
    #[track_caller]
    pub fn succeeds(&self, arguments: &[&str]) -> Finished {
        let finished = self.run(arguments);
        assert_eq!(finished.code, Some(0), "flash {arguments:?}: {finished:#?}");
        finished
    }

    /// Runs a command that must end with this code and say each of these.
    #[track_caller]
    pub fn fails(&self, code: i32, arguments: &[&str], said: &[&str]) -> Finished {
        let finished = self.run(arguments);
        assert_eq!(finished.code, Some(code), "flash {arguments:?}: {finished:#?}");
        for text in said {
            assert!(
                finished.stderr.contains(text),
                "`{text}` is not said by flash {arguments:?}: {finished:#?}"
            );
        }
        assert!(!finished.stderr.contains('✓') && !finished.stdout.contains('✓'), "{finished:#?}");
        finished
    }

    /// What a command prints with `--json`.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let finished = self.succeeds(&arguments);
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:#?}"))
    }

    /// `flash deploy send production` with these arguments.
    #[track_caller]
    pub fn send(&self, arguments: &[&str]) -> Finished {
        let all = self.sending(arguments);
        self.succeeds(&all)
    }

    pub fn sending<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        let first = ["deploy", "send", "production", "--release-profile", "dev", "--yes"];
        first.into_iter().chain(arguments.iter().copied()).collect()
    }

    /// Where the environment `production` is served.
    pub fn url(&self) -> String {
        self.json(&["deploy", "info", "production"])["environment"]["url"].as_str().unwrap().to_owned()
    }

    /// The key that `deploy new` stored.
    pub fn key(&self) -> String {
        let credentials = std::fs::read(self.config().join("credentials.json")).unwrap();
        let credentials: Value = serde_json::from_slice(&credentials).unwrap();
        credentials["environments"][APP]["production"]["key"].as_str().unwrap().to_owned()
    }

    /// Asks the environment, with its key.
    pub async fn get(&self, client: &Client, url: &str) -> Answer {
        client.send(client.raw().get(url).bearer_auth(self.key())).await
    }

    /// The process id of the background service.
    pub fn service(&self) -> i32 {
        let status = self.json(&["service", "status"]);
        i32::try_from(status["service"]["pid"].as_i64().unwrap_or_else(|| panic!("{status}"))).unwrap()
    }

    /// Ends the service as a crash would, and everything that would start it again.
    pub fn crash_service(&self) {
        let pid = self.service();
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        wait_for("the end of the service", super::SOON, || {
            if is_alive(pid) { Err("it lives".to_owned()) } else { Ok(()) }
        });
    }

    /// Lines of `flash logs production --json` with these arguments.
    #[track_caller]
    pub fn logs(&self, arguments: &[&str]) -> Vec<Value> {
        let all: Vec<&str> =
            ["logs", "production", "--json"].into_iter().chain(arguments.iter().copied()).collect();
        let finished = self.succeeds(&all);
        finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        let _ = self.command(&["service", "stop"]).output();
    }
}
