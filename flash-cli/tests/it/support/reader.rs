//! A reader of a page of `docs/`, who types each command, and writes each file.
//!
//! What differs from the page: `flash` is the one of this build and not one that was installed, releases are built without
//! optimisation, which would take minutes, ports are whichever are free, and Python's packages are those of the tests.
//! The Hub is a stand-in with the weights of the tests, whatever their name. Runpod's cloud is the stand-in, and the
//! registry is on this machine, where nobody logs in. Questions are answered by `--yes`.
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flash_test_support::hub::FakeHub;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{
    Finished, PATIENCE, Running,
    registry::DockerRegistry,
    root,
    runpod::{Cloud, Containers, KEY, Options},
    wait_for,
};

/// The registry that pages name.
const REGISTRY: &str = "ghcr.io";

/// What a page has in its blocks of code.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A line of a shell.
    Type(String),
    /// What the line before printed.
    Expect(String),
    /// A file with this text, as the line above the block says: "Put this into `PATH`:". What is TOML is added to the file.
    Write { path: String, text: String },
    /// A part of a file that is there.
    Show(String),
}

/// The steps of a page. Each language has its meaning: `sh` is typed, `json` is what is answered, others are files.
fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut put_into = None;
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            if !line.is_empty() {
                put_into = said_path(line).or(put_into.take().filter(|_| !line.ends_with(':')));
            }
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = block.join("\n") + "\n";
        match (language, put_into.take()) {
            ("sh", _) => {
                let commands = text.replace("\\\n", " ");
                steps.extend(commands.lines().map(|line| Step::Type(line.to_owned())));
            }
            ("json", _) => steps.push(Step::Expect(text.trim().to_owned())),
            (_, Some(path)) => steps.push(Step::Write { path, text }),
            (_, None) => steps.push(Step::Show(text)),
        }
    }
    steps
}

/// The path that a line names as the place of the block below.
fn said_path(line: &str) -> Option<String> {
    let path = line.strip_suffix("`:")?.rsplit('`').next()?;
    let is_path = path.contains('/') || path == "flash.toml" || path.ends_with(".py");
    is_path.then(|| path.to_owned())
}

/// Adds what `text` has to the file, or puts it in the place of what is there.
fn add_toml(path: &Path, text: &str) {
    fn add(to: &mut toml::Table, from: toml::Table) {
        for (key, value) in from {
            match (to.get_mut(&key), value) {
                (Some(toml::Value::Table(to)), toml::Value::Table(from)) => add(to, from),
                (_, value) => {
                    to.insert(key, value);
                }
            }
        }
    }
    let mut file: toml::Table = fs::read_to_string(path).unwrap_or_default().parse().unwrap();
    add(&mut file, text.parse().unwrap());
    fs::write(path, file.to_string()).unwrap();
}

/// What a reader has at others.
struct Account {
    cloud: Cloud,
    registry: DockerRegistry,
}

/// A reader, with a home of their own.
pub struct Reader {
    home: TempDir,
    directory: PathBuf,
    /// `flash run` in the first terminal.
    app: Option<Running>,
    account: Option<Account>,
    hub: Option<FakeHub>,
}

impl Reader {
    pub fn new() -> Self {
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_flash"), home.path().join("bin/flash")).unwrap();
        let directory = home.path().canonicalize().unwrap();
        Self { home, directory, app: None, account: None, hub: None }
    }

    /// Gives the reader what a page on Runpod asks for: an account with the secret that workers call each other with, and
    /// a registry.
    pub fn open_account(&mut self) {
        let cloud = Cloud::start_with(Options::default(), Containers::new());
        cloud.set_secret("FLASH_API_KEY", KEY);
        self.account = Some(Account { cloud, registry: DockerRegistry::start() });
    }

    /// Lets the reader find a model on the Hub: this file, by this name.
    pub fn publish(&mut self, model: &str, name: &str, file: &Path) {
        let hub = FakeHub::start();
        hub.add(model, &[(name, &fs::read(file).unwrap())]);
        self.hub = Some(hub);
    }

    fn environment(&self) -> Vec<(String, String)> {
        let at_home = |name: &str| self.home.path().join(name).to_str().unwrap().to_owned();
        let path = format!("{}:{}", at_home("bin"), std::env::var("PATH").unwrap());
        [
            ("PATH", path),
            ("FLASH_DATA_DIR", at_home("data")),
            ("FLASH_CONFIG_DIR", at_home("config")),
            ("CARGO_TARGET_DIR", root().join("target").to_str().unwrap().to_owned()),
            ("CARGO_NET_OFFLINE", "true".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .chain(self.account.iter().flat_map(|account| {
            let at_cloud =
                account.cloud.variables().into_iter().map(|(name, value)| (name.to_owned(), value));
            // The page logs in.
            at_cloud.filter(|(name, _)| name != "RUNPOD_API_KEY")
        }))
        .chain(self.hub.iter().flat_map(|hub| {
            let at_hub = [("HF_ENDPOINT", hub.endpoint().to_owned()), ("HF_HUB_CACHE", at_home("hub"))];
            at_hub.map(|(name, value)| (name.to_owned(), value))
        }))
        .collect()
    }

    fn shell_command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.directory).envs(self.environment());
        command.env_remove("FLASH_ENV").env_remove("FLASH_API_KEY").env_remove("RUNPOD_API_KEY");
        command
    }

    fn shell(&self, line: &str) -> Finished {
        Finished::of(self.shell_command(line).output().unwrap())
    }

    /// Types a command that goes on by itself, and presses Ctrl-C once it has printed a line.
    fn follow(&self, line: &str) -> Finished {
        let printed = self.home.path().join("printed");
        let mut command = self.shell_command(&format!("exec {line}"));
        let mut child =
            command.stdout(File::create(&printed).unwrap()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for(&format!("a line of `{line}`"), PATIENCE, || {
            match fs::read_to_string(&printed).unwrap().contains('\n') {
                true => Ok(()),
                false => Err(format!("{:?}", child.try_wait())),
            }
        });
        kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
        let mut finished = Finished::of(child.wait_with_output().unwrap());
        finished.stdout = fs::read_to_string(&printed).unwrap();
        finished
    }

    fn type_in(&mut self, line: &str) -> Finished {
        if line == "flash run" {
            let environment = self.environment();
            let pairs: Vec<(&str, &str)> =
                environment.iter().map(|(name, value)| (&**name, &**value)).collect();
            self.app = Some(Running::start_with(&self.directory, &[], &pairs));
            return Finished { code: Some(0), stdout: String::new(), stderr: String::new() };
        }
        if let Some(name) = line.strip_prefix("cd ") {
            self.directory = self.directory.join(name);
            // The versions that this workspace has, and no others.
            fs::copy(root().join("Cargo.lock"), self.directory.join("Cargo.lock")).unwrap();
            return self.shell("true");
        }
        if line.starts_with("python3 -m venv") {
            let python = super::schemathesis::python().expect("a page with Python needs one");
            let packages = python.ancestors().nth(2).unwrap();
            std::os::unix::fs::symlink(packages, self.directory.join(".venv")).unwrap();
            return self.shell("true");
        }
        if line.starts_with("flash deploy") {
            // Ctrl-C.
            self.app = None;
        }
        let mut line = self.with_port(line);
        if let Some(script) = line.strip_prefix("python3 ") {
            let python = super::schemathesis::python().expect("a page with Python needs one");
            line = format!("{} {script}", python.display());
        }
        if line.starts_with("flash deploy send") {
            line.push_str(" --release-profile dev");
        }
        let asks = ["flash deploy send", "flash rollback", "flash remove"];
        let is_confirmed = ["--plan", "--yes"].iter().any(|flag| line.contains(flag));
        if asks.iter().any(|asking| line.starts_with(asking)) && !is_confirmed {
            line.push_str(" --yes");
        }
        if let Some(account) = &self.account {
            line = line.replace(REGISTRY, &account.registry.address);
        }
        if line == "flash login" {
            line = format!("echo {KEY} | {line}");
        }
        match line.ends_with("--follow") {
            true => self.follow(&line),
            false => self.shell(&line),
        }
    }

    /// The port of the app in the place of the one that the page names.
    fn with_port(&self, text: &str) -> String {
        match &self.app {
            Some(app) => text.replace("localhost:8888", app.url.strip_prefix("http://").unwrap()),
            None => text.to_owned(),
        }
    }

    /// Types the line until it is answered as expected: a reload may be under way.
    fn expect(&mut self, line: &str, expected: &str) {
        wait_for(&format!("the answer of `{line}`"), PATIENCE, || {
            let done = self.type_in(line);
            match done.code == Some(0) && done.stdout.trim() == expected {
                true => Ok(()),
                false => Err(format!("{done:#?}")),
            }
        });
    }

    /// Types, writes and expects what a page says, and returns how many commands that were.
    ///
    /// # Panics
    /// If a command fails, an answer is another, or a file is not what the page shows of it.
    pub fn read(&mut self, page: &str) -> usize {
        let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
        let steps = steps(&text);
        let mut typed = 0;
        for (index, step) in steps.iter().enumerate() {
            match step {
                Step::Type(line) if is_done(line) => {}
                Step::Type(line) => {
                    typed += 1;
                    match steps.get(index + 1) {
                        Some(Step::Expect(expected)) => self.expect(line, expected),
                        _ => {
                            // A reader sees whether it is an error that was answered.
                            let done = self.type_in(&line.replace("curl ", "curl --fail-with-body "));
                            // A plan with changes.
                            let expected = if line.ends_with("--plan") { 2 } else { 0 };
                            assert_eq!(done.code, Some(expected), "{page}: {line}: {done:#?}");
                        }
                    }
                }
                Step::Expect(_) => {}
                Step::Write { path, text } => {
                    let path = self.directory.join(path);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    match path.extension().is_some_and(|extension| extension == "toml") {
                        true => add_toml(&path, text),
                        false => fs::write(path, self.with_port(text)).unwrap(),
                    }
                }
                Step::Show(text) => assert!(self.has(text), "{page}: no file of the app has\n{text}"),
            }
        }
        typed
    }

    /// Whether a file of the app has this text.
    fn has(&self, text: &str) -> bool {
        let files = [self.directory.clone(), self.directory.join("src")];
        let entries = files.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
        entries
            .filter_map(|entry| fs::read_to_string(entry.unwrap().path()).ok())
            .any(|file| file.contains(text))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shell("flash service stop");
    }
}

/// The tests have built `flash`, and the registry of this machine wants no login.
fn is_done(line: &str) -> bool {
    line.starts_with("cargo install") || line.starts_with("docker login")
}
