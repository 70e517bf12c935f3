//! An account, a registry and an app of one test.
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{
    self, Finished, finish_with, image_target,
    registry::DockerRegistry,
    root,
    runpod::{Cloud, KEY, Options, Workers},
};

const SOURCE: &str = include_str!("app.rs");
const SOON: Duration = Duration::from_secs(30);

/// What `flash deploy send` is given: builds without optimisation are soon done.
pub const SEND: [&str; 6] = ["deploy", "send", "cloud", "--yes", "--release-profile", "dev"];

/// An account, a registry, and the app, in one place for all tests: one after the other.
pub struct Bench {
    pub cloud: Cloud,
    pub registry: DockerRegistry,
    /// Of the app's crate.
    pub directory: PathBuf,
    app: &'static str,
    config: TempDir,
    data: TempDir,
    _alone: Flock<File>,
}

impl Bench {
    /// The app of `app.rs`.
    pub fn new(workers: impl Workers) -> Self {
        Self::with("cloud-app", workers, |place| {
            support::crate_files("cloud-app", place, &[("src/main.rs", SOURCE), ("flash.toml", "")]);
            place.to_owned()
        })
    }

    /// A copy of the repository's example, in a workspace of its own: `flash deploy new` writes into `flash.toml`.
    pub fn of_example(workers: impl Workers) -> Self {
        Self::with("mixed-workers", workers, |place| {
            let example = "examples/03_mixed_workers";
            let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
            let (start, end) = (manifest.find("members = [").unwrap(), manifest.find("\n]\n").unwrap());
            let members = format!("members = [{example:?}");
            let manifest = format!("{}{members}{}", &manifest[..start], &manifest[end + 1..])
                .replace("path = \"flash-", &format!("path = \"{}/flash-", root().display()));
            let default = manifest.lines().find(|line| line.starts_with("default-members")).unwrap();
            std::fs::write(place.join("Cargo.toml"), manifest.replace(default, "")).unwrap();
            std::fs::copy(root().join("Cargo.lock"), place.join("Cargo.lock")).unwrap();
            let listed =
                Command::new("git").arg("-C").arg(root()).args(["ls-files", example]).output().unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            assert!(listed.lines().count() > 10, "{listed}");
            for file in listed.lines() {
                let to = place.join(file);
                std::fs::create_dir_all(to.parent().unwrap()).unwrap();
                std::fs::copy(root().join(file), to).unwrap();
            }
            place.join(example)
        })
    }

    fn with(app: &'static str, workers: impl Workers, make: impl FnOnce(&Path) -> PathBuf) -> Self {
        let place = root().join("target/test-runpod");
        std::fs::create_dir_all(&place).unwrap();
        let lock = File::create(place.join("lock")).unwrap();
        let alone = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
        // One path for all apps: cargo knows a crate by it.
        let place = place.join("app");
        if place.exists() {
            std::fs::remove_dir_all(&place).unwrap();
        }
        std::fs::create_dir_all(&place).unwrap();
        let directory = make(&place);
        let init = Command::new("git").arg("-C").arg(&place).args(["init", "--quiet"]).status();
        assert!(init.unwrap().success());
        let cloud = Cloud::start_with(Options::default(), workers);
        // What workers call each other with.
        cloud.set_secret("FLASH_API_KEY", KEY);
        let (config, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        Self { cloud, registry: DockerRegistry::start(), directory, app, config, data, _alone: alone }
    }

    fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let mut all = vec![
            ("CARGO_TARGET_DIR", text(&image_target())),
            ("DOCKER_CONFIG", "/nowhere".to_owned()),
            ("FLASH_CONFIG_DIR", text(self.config.path())),
            ("FLASH_DATA_DIR", text(self.data.path())),
        ];
        all.extend(self.cloud.variables());
        all
    }

    pub fn flash(&self, arguments: &[&str]) -> Finished {
        let variables = self.variables();
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        finish_with(arguments, &self.directory, &variables)
    }

    /// Starts it, without waiting for its end.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = support::flash(arguments);
        command.current_dir(&self.directory).envs(self.variables());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    pub fn done(&self, arguments: &[&str]) -> Finished {
        let finished = self.flash(arguments);
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
        assert!(!finished.stdout.contains(KEY) && !finished.stderr.contains(KEY), "{finished:?}");
        finished
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let finished = self.done(&arguments);
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"))
    }

    /// Waits until what is printed holds all `parts`: a line of a worker goes through the engine, the end of a job
    /// does not, so either may be seen first.
    pub fn told(&self, arguments: &[&str], parts: &[&str]) {
        let what = format!("{parts:?} in {arguments:?}");
        support::wait_for(&what, SOON, || {
            let finished = self.done(arguments);
            if parts.iter().all(|part| finished.stdout.contains(part)) {
                Ok(())
            } else {
                Err(format!("{finished:?}"))
            }
        });
    }

    pub fn new_environment(&self) {
        let registry = format!("{}/shop", self.registry.address);
        self.done(&["deploy", "new", "cloud", "--target", "runpod", "--registry", &registry]);
    }

    pub fn send(&self) -> Finished {
        self.flash(&SEND)
    }

    pub fn endpoint(&self, worker: &str) -> Option<Value> {
        self.cloud.endpoint(&format!("flash.{}.cloud.{worker}", self.app))
    }

    pub fn edit(&self, from: &str, to: &str) {
        let path = self.directory.join("src/main.rs");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }
}
