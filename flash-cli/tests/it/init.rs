//! Crates that `flash init` makes, as a user gets them: they compile, their tests pass, and they serve.
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Client, Finished, Running, cargo, finish, root,
    terminal::{CTRL_C, Terminal},
};

/// A directory for new crates, whose builds share what the workspace has compiled already.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join(".cargo")).unwrap();
        fs::write(directory.path().join(".cargo/config.toml"), dev_profile()).unwrap();
        Self { directory }
    }

    /// Without links, as `flash` shows it.
    fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    /// The versions that the workspace has, and no others.
    fn lock(&self, directory: &str) {
        fs::copy(root().join("Cargo.lock"), self.path().join(directory).join("Cargo.lock")).unwrap();
    }

    fn init(&self, arguments: &[&str]) -> Finished {
        let mut all = vec!["init"];
        all.extend(arguments);
        finish(&all, &self.path())
    }

    /// A workspace with a member made from each of these templates.
    fn workspace_of(templates: &[&str]) -> Self {
        let place = Self::new();
        fs::write(place.path().join("Cargo.toml"), "[workspace]\nresolver = \"3\"\n").unwrap();
        for template in templates {
            let name = format!("init-{template}");
            let made = succeeded(&place.init(&[&name, "--template", template, "--yes", "--json"]));
            assert_eq!(made["workspace"].as_str(), place.path().join("Cargo.toml").to_str(), "{made}");
        }
        place.lock(".");
        place
    }

    fn cargo_test(&self, directory: &str) {
        self.passes(directory, cargo(&["test", "--offline", "--quiet", "--workspace"]));
    }

    fn passes(&self, directory: &str, mut command: Command) {
        let done = Finished::of(command.current_dir(self.path().join(directory)).output().unwrap());
        assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
        assert!(done.stdout.contains("test result: ok. 2 passed"), "{}", done.stdout);
    }
}

/// The settings of this workspace for development builds, under which what it has compiled can be used again.
fn dev_profile() -> String {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let dev = manifest["profile"]["dev"].clone();
    let profile = toml::Table::from_iter([("dev".to_owned(), dev)]);
    toml::Table::from_iter([("profile".to_owned(), profile.into())]).to_string()
}

fn succeeded(done: &Finished) -> Value {
    assert_eq!(done.code, Some(0), "{done:?}");
    serde_json::from_str(&done.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_passes_its_tests_and_serves() {
    let place = Place::new();
    // As one of its functions: the crate's name must not hide it, nor it the crate.
    let made = succeeded(&place.init(&["greet", "--json"]));
    let directory = place.path().join("greet");
    let told = json!({ "name": "greet", "template": "hello", "directory": directory, "workspace": null, "next": ["flash run"] });
    assert_eq!(made, told);
    assert!(directory.join(".git").is_dir(), "a repository of its own");
    place.lock("greet");
    place.cargo_test("greet");

    let target = root().join("target");
    let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap()), ("CARGO_NET_OFFLINE", "true")];
    let app = Running::start_with(&directory, &[], &environment);
    let names = json!({ "names": ["Ada", "Bob"] });
    let answer = Client::new().post(format!("{}/hello", app.url), names).await;
    assert_eq!((answer.status, answer.json()), (200, json!(["Hello, Ada!", "Hello, Bob!"])));

    // As its README says; without `--local`, the error leads there.
    let input = r#"{"name": "Ada"}"#;
    let called = finish(&["call", "--local", "greet", input], &directory);
    assert_eq!((called.code, called.stdout.trim()), (Some(0), "\"Hello, Ada!\""), "{called:?}");
    let called = finish(&["call", "greet", input], &directory);
    let hint = format!("to use the `flash run` at {}, add --local", app.url);
    assert!(called.code == Some(2) && called.stderr.contains(&hint), "{called:?}");
}

#[test]
fn other_templates_become_members_of_a_workspace_and_pass_their_tests() {
    Place::workspace_of(&["api", "jobs", "python"]).cargo_test(".");
}

/// The tests of these templates need no weights. Their build takes minutes, and with the directory of the workspace, each
/// `flash run` of other tests would wait for it.
#[test]
fn templates_with_models_become_members_of_a_workspace_and_pass_their_tests() {
    let mut command = cargo(&["test", "--offline", "--quiet", "--workspace"]);
    command.env("CARGO_TARGET_DIR", root().join("target/test-templates"));
    Place::workspace_of(&["chat", "embeddings", "pipeline"]).passes(".", command);
}

/// The keys are hidden at one prompt, and the cursor at the other.
#[test]
fn ctrl_c_at_a_prompt_cancels_and_leaves_the_terminal_as_it_was() {
    let place = Place::new();
    let flash = env!("CARGO_BIN_EXE_flash");
    let line = format!("trap : INT; {flash} init app; echo ended $?; {flash} login; echo ended $?; stty -a");
    let mut terminal = Terminal::start(&place.path(), &line);
    terminal.wait_until("the first prompt", |text| text.contains("Name"));
    terminal.press(CTRL_C);
    terminal.wait_until("the second prompt", |text| text.contains("API key"));
    terminal.press(CTRL_C);
    let (_, text) = terminal.end();
    assert_eq!(text.matches("\x1b[?25h\r\ncancelled\r\nended 130\r\n").count(), 2, "{text}");
    let modes: Vec<&str> = text.split_whitespace().collect();
    assert!(modes.contains(&"echo") && modes.contains(&"icanon"), "{text}");
    assert_eq!(listed(&place.path()), [".cargo"]);
}

#[test]
fn nothing_is_overwritten() {
    let place = Place::new();
    fs::create_dir(place.path().join("app")).unwrap();
    fs::write(place.path().join("app/flash.toml"), "# mine\n").unwrap();
    let refused = place.init(&["app", "--no-git"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("already has flash.toml: nothing was written"), "{}", refused.stderr);
    assert_eq!(listed(&place.path().join("app")), ["flash.toml"]);
    assert_eq!(fs::read_to_string(place.path().join("app/flash.toml")).unwrap(), "# mine\n");
}

#[test]
fn what_is_not_valid_is_refused_before_anything_is_written() {
    let place = Place::new();
    for (arguments, reason) in [
        (&["app", "--template", "helo"][..], "there is no template `helo`"),
        (&["app", "--name", "fn"], "`fn` is taken"),
        (&["2048"], "`2048` is not a package name"),
        (&["app", "--gpu"], "the template `hello` has no model to run on a GPU"),
    ] {
        let refused = place.init(arguments);
        assert!(refused.code == Some(2) && refused.stderr.contains(reason), "{refused:?}");
        assert_eq!(listed(&place.path()), [".cargo"]);
    }
}

fn listed(directory: &Path) -> Vec<String> {
    let names =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}
