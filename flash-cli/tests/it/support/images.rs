//! Images of an app of their own, and an engine with a store of its own to run them with.
use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Instant,
};

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    Running, SOON, crate_files, flash, image_target, root,
    skipped::{Needs, skip},
};

/// Whether podman can run here. Without it a test does nothing, unless `FLASH_REQUIRE_CONTAINERS=1` forbids
/// such a gap.
#[allow(clippy::print_stderr, reason = "whoever runs the tests should know of the gap")]
pub fn has_engine() -> bool {
    let works = Command::new("podman").arg("info").output().is_ok_and(|output| output.status.success());
    if !works {
        skip(Needs::Containers, "`podman info` does not succeed");
    }
    works
}

/// The crate with the app of the tests of containers, built. All tests share it, and the first one of a run
/// builds it: it lies in one place, so that cargo has most of it from the run before. Nobody else touches it
/// as long as the lock is held.
fn built() -> (PathBuf, Flock<File>) {
    static BUILT_HERE: OnceLock<()> = OnceLock::new();
    let directory = root().join("target/test-images");
    std::fs::create_dir_all(directory.join("src")).unwrap();
    let lock = File::create(directory.join("lock")).unwrap();
    let alone = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error).unwrap();
    // Where each test is a process of its own, nextest says which run they belong to.
    let run = std::env::var("NEXTEST_RUN_ID").ok();
    let built_by = directory.join("built-by");
    let is_built = match &run {
        Some(run) => std::fs::read_to_string(&built_by).is_ok_and(|last| last == *run),
        None => BUILT_HERE.get().is_some(),
    };
    if is_built {
        return (directory, alone);
    }
    // Should this one fail, nobody takes the build before it for this one.
    let _ = std::fs::remove_file(&built_by);
    crate_files("images-of-tests", &directory, &[("src/main.rs", include_str!("../images/app.rs"))]);
    let built = flash(&["build", directory.to_str().unwrap(), "--release-profile", "dev", "--no-sbom"])
        .env("CARGO_TARGET_DIR", image_target())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    match run {
        Some(run) => std::fs::write(built_by, run).unwrap(),
        None => *BUILT_HERE.get_or_init(|| ()),
    }
    (directory, alone)
}

/// Command lines of this machine with this text in them.
pub fn arguments_with(text: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(text)).collect()
}

/// A crate that was built, with an engine's store of its own.
pub struct Project {
    directory: TempDir,
    store: TempDir,
}

impl Project {
    /// A copy of the crate and its build. `settings` go to `[run]` in `flash.toml`.
    pub fn new(settings: &str) -> Self {
        let (built, _alone) = built();
        Self::of(&built, settings)
    }

    /// As [`Project::new`], of another crate that was built.
    pub fn of(built: &Path, settings: &str) -> Self {
        let (directory, store) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        for file in ["Cargo.toml", "Cargo.lock", "src/main.rs"] {
            copy(&built.join(file), &directory.path().join(file));
        }
        copy_all(&built.join(".flash/build"), &directory.path().join(".flash/build"));
        let project = Self { directory, store };
        let arguments = serde_json::to_string(&project.store_arguments()).unwrap();
        let settings =
            format!("[run]\ncontainer = \"podman\"\ncontainer_global_args = {arguments}\n{settings}");
        std::fs::write(project.path().join("flash.toml"), settings).unwrap();
        project
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    fn store_arguments(&self) -> [String; 2] {
        let place = |name: &str| self.store.path().join(name).to_str().unwrap().to_owned();
        [format!("--root={}", place("root")), format!("--runroot={}", place("run"))]
    }

    /// Part of the command lines of all that its engine starts.
    pub fn store_path(&self) -> &str {
        self.store.path().to_str().unwrap()
    }

    /// Runs its images.
    pub fn start(&self) -> Running {
        Running::start(self.path(), &["--image"])
    }

    /// What podman prints.
    pub fn podman(&self, arguments: &[&str]) -> String {
        let output = Command::new("podman").args(self.store_arguments()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Puts the image of a worker type into its engine's store, under this name.
    pub fn import(&self, worker: &str, name: &str) {
        // A path in the name of an image would have to be in lower case.
        let pulled = Command::new("podman")
            .args(self.store_arguments())
            .args(["pull", "--quiet", &format!("oci:images:{worker}")])
            .current_dir(self.path().join(".flash/build"))
            .output()
            .unwrap();
        assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
        self.podman(&["tag", String::from_utf8_lossy(&pulled.stdout).trim(), name]);
    }

    /// Names of its containers, in whatever state.
    pub fn containers(&self) -> Vec<String> {
        let names = self.podman(&["ps", "--all", "--format={{.Names}}"]);
        names.lines().map(str::to_owned).collect()
    }

    /// Whether podman has written this file of any container.
    pub fn has_made(&self, file: &str) -> bool {
        let below = |directory: PathBuf| std::fs::read_dir(directory).into_iter().flatten().flatten();
        // `root/DRIVER-containers/ID/userdata/FILE`, and the same below `run`.
        ["root", "run"]
            .iter()
            .flat_map(|part| below(self.store.path().join(part)))
            .filter(|entry| entry.file_name().to_string_lossy().ends_with("-containers"))
            .flat_map(|entry| below(entry.path()))
            .any(|container| container.path().join("userdata").join(file).exists())
    }

    /// Whether nothing that its engine started is left.
    fn is_quiet(&self) -> bool {
        let containers =
            Command::new("podman").args(self.store_arguments()).args(["ps", "--all", "--quiet"]).output();
        containers.is_ok_and(|output| output.stdout.is_empty())
            && arguments_with(self.store_path()).is_empty()
    }

    /// What was built.
    pub fn record(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.record_path()).unwrap()).unwrap()
    }

    /// Replaces the record, as a build does: in one step.
    pub fn replace_record(&self, record: &Value) {
        let new = self.path().join(".flash/build/new");
        std::fs::write(&new, record.to_string()).unwrap();
        std::fs::rename(new, self.record_path()).unwrap();
    }

    fn record_path(&self) -> PathBuf {
        self.path().join(".flash/build/manifest.json")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        // The lifeline of a `flash` that was ended still works in the store.
        let until = Instant::now() + SOON;
        while !self.is_quiet() && Instant::now() < until {
            std::thread::yield_now();
        }
        // Files of a store may be of users that only podman can act as.
        let _ =
            Command::new("podman").args(self.store_arguments()).args(["rmi", "--all", "--force"]).output();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy_all(&from, &to),
            false => copy(&from, &to),
        }
    }
}
