//! A reader of a page of `docs/`, who types each command, and writes each file.
//!
//! What differs from the page: `flash` is the one of this build and not one that was installed, releases are built without
//! optimisation, which would take minutes, ports are whichever are free, and Python's packages are those of the tests.
use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;

use super::{Finished, PATIENCE, Running, root, wait_for};

/// What a page has in its blocks of code.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A line of a shell.
    Type(String),
    /// What the line before printed.
    Expect(String),
    /// A file with this text, as the line above the block says: "Put this into `PATH`:".
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
    path.contains('/').then(|| path.to_owned())
}

/// A reader, with a home of their own.
struct Reader {
    home: TempDir,
    directory: PathBuf,
    /// `flash run` in the first terminal.
    app: Option<Running>,
}

impl Reader {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        fs::create_dir(home.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_flash"), home.path().join("bin/flash")).unwrap();
        let directory = home.path().canonicalize().unwrap();
        Self { home, directory, app: None }
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
        .into()
    }

    fn shell(&self, line: &str) -> Finished {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.directory).envs(self.environment());
        command.env_remove("FLASH_ENV").env_remove("FLASH_API_KEY");
        Finished::of(command.output().unwrap())
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
        let mut line = line.to_owned();
        if let Some(app) = &self.app {
            line = line.replace("localhost:8888", app.url.strip_prefix("http://").unwrap());
        }
        if line.starts_with("flash deploy send") {
            line.push_str(" --release-profile dev");
        }
        self.shell(&line)
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

/// Types, writes and expects what a page says, and returns how many commands that were.
///
/// # Panics
/// If a command fails, an answer is another, or a file is not what the page shows of it.
pub fn read(page: &str) -> usize {
    let text = fs::read_to_string(root().join("docs").join(page)).unwrap();
    let steps = steps(&text);
    let mut reader = Reader::new();
    let mut typed = 0;
    for (index, step) in steps.iter().enumerate() {
        match step {
            // The tests have built it.
            Step::Type(line) if line.starts_with("cargo install") => {}
            Step::Type(line) => {
                typed += 1;
                match steps.get(index + 1) {
                    Some(Step::Expect(expected)) => reader.expect(line, expected),
                    _ => {
                        let done = reader.type_in(line);
                        assert_eq!(done.code, Some(0), "{page}: {line}: {done:#?}");
                    }
                }
            }
            Step::Expect(_) => {}
            Step::Write { path, text } => {
                let path = reader.directory.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Step::Show(text) => assert!(reader.has(text), "{page}: no file of the app has\n{text}"),
        }
    }
    typed
}
