//! `docs/getting-started.md`, typed as it is written: each command works, and answers what the page says.
//!
//! What differs: `flash` is the one of this build and not one that was installed, releases are built without
//! optimisation, which would take minutes, and ports are whichever are free.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::support::{Finished, PATIENCE, Running, root, wait_for};

/// What the page has in its blocks of code.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// A line of a shell.
    Type(String),
    /// What the line before printed.
    Expect(String),
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut language = None;
    for line in page.lines() {
        match (language, line.strip_prefix("```")) {
            (None, Some(opened)) => language = Some(opened),
            (Some(_), Some(_)) => language = None,
            (Some("sh"), None) => steps.push(Step::Type(line.to_owned())),
            (Some("json"), None) => steps.push(Step::Expect(line.to_owned())),
            (Some(other), None) => panic!("a block of `{other}`: what is to be done with `{line}`?"),
            (None, None) => {}
        }
    }
    steps
}

/// A reader of the page, with a home of their own.
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
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shell("flash service stop");
    }
}

#[test]
fn every_command_of_the_page_does_what_the_page_says() {
    let page = fs::read_to_string(root().join("docs/getting-started.md")).unwrap();
    let steps = steps(&page);
    assert!(steps.contains(&Step::Type("cargo install --path flash-cli".to_owned())));
    let mut reader = Reader::new();
    let mut typed = 0;
    for (index, step) in steps.iter().enumerate() {
        let Step::Type(line) = step else { continue };
        if line.starts_with("cargo install") {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).ends_with("flash-cli"));
            continue;
        }
        let expected = steps.get(index + 1).and_then(|next| match next {
            Step::Expect(text) => Some(text),
            Step::Type(_) => None,
        });
        typed += 1;
        let Some(expected) = expected else {
            let done = reader.type_in(line);
            assert_eq!(done.code, Some(0), "{line}: {done:#?}");
            continue;
        };
        // Asked again until a reload is over.
        wait_for(&format!("the answer of `{line}`"), PATIENCE, || {
            let done = reader.type_in(line);
            match done.code == Some(0) && done.stdout.trim() == *expected {
                true => Ok(()),
                false => Err(format!("{done:#?}")),
            }
        });
    }
    assert!(typed > 15, "{steps:?}");
}
