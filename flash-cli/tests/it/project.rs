//! What `flash run` says of a project that it cannot run: one line, what to do, the documented exit code.
use std::path::Path;

use tempfile::TempDir;

use crate::support::{
    self, finish, root,
    terminal::{CTRL_C, Terminal},
};

fn crate_in(directory: &Path, name: &str, dependencies: &str, main: &str) {
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[dependencies]\n{dependencies}\n[workspace]\n"
    );
    std::fs::write(directory.join("Cargo.toml"), manifest).unwrap();
    std::fs::create_dir_all(directory.join("src")).unwrap();
    std::fs::write(directory.join("src/main.rs"), main).unwrap();
}

fn refused(directory: &Path, arguments: &[&str], code: i32, parts: &[&str]) {
    let run = finish(arguments, directory);
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    assert_eq!(run.stdout, "", "nothing is claimed on stdout");
    for part in parts {
        assert!(run.stderr.contains(part), "`{part}` in: {}", run.stderr);
    }
    assert!(!run.stderr.contains("panicked"), "{}", run.stderr);
}

#[test]
fn outside_of_a_crate() {
    let directory = TempDir::new().unwrap();
    refused(directory.path(), &["run"], 2, &["is not inside a crate", "hint: ", "-C DIR", "flash init DIR"]);
    refused(directory.path(), &["dev", "nowhere"], 2, &["the directory `nowhere` does not exist"]);
}

#[test]
fn a_crate_that_cargo_cannot_read() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("Cargo.toml"), "[package\n").unwrap();
    refused(directory.path(), &["run"], 2, &["cargo cannot read", "Cargo.toml"]);
}

#[test]
fn a_workspace_without_a_package() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("Cargo.toml"), "[workspace]\nmembers = [\"app\"]\n").unwrap();
    let member = directory.path().join("app");
    std::fs::create_dir_all(member.join("src")).unwrap();
    std::fs::write(member.join("src/main.rs"), "fn main() {}").unwrap();
    std::fs::write(
        member.join("Cargo.toml"),
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    refused(directory.path(), &["run"], 2, &["is a workspace without a root package", "hint: "]);
}

#[test]
fn a_plain_main_is_refused_and_not_run() {
    let directory = TempDir::new().unwrap();
    let main = "fn main() { std::fs::write(\"ran\", \"\").unwrap(); println!(\"hello\"); }";
    crate_in(directory.path(), "plain", "", main);
    refused(
        directory.path(),
        &["run", "--port", "0"],
        2,
        &[
            "plain is not a Flash app: its `main` does not have `#[flash_sdk::main]`",
            "hint: put `#[flash_sdk::main]` above `async fn main()`",
        ],
    );
    assert!(!directory.path().join("ran").exists(), "nothing of it was run");
}

#[test]
fn an_app_without_functions() {
    let directory = TempDir::new().unwrap();
    let sdk = format!("flash-sdk = {{ path = {:?} }}", root().join("flash-sdk"));
    crate_in(directory.path(), "empty-app", &sdk, "#[flash_sdk::main]\nfn main() {}\n");
    std::fs::copy(root().join("Cargo.lock"), directory.path().join("Cargo.lock")).unwrap();
    let target = root().join("target");
    let output = support::flash(&["run", "--port", "0"])
        .current_dir(directory.path())
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("crate `empty-app` has no `#[remote]` items"), "{stderr}");
}

#[test]
fn a_broken_flash_toml_is_named_with_its_line() {
    let directory = TempDir::new().unwrap();
    crate_in(directory.path(), "configured", "", "fn main() {}");
    for (text, parts) in [
        ("[run]\n\nprot = 1\n", ["flash.toml:3: ", "unknown field `prot`"]),
        ("[run]\nport = \"x\"\n", ["flash.toml:2: ", "invalid type"]),
        ("[prices]\nADA_25 = 1.0\n", ["flash.toml:2: ", "`ADA_25`"]),
    ] {
        std::fs::write(directory.path().join("flash.toml"), text).unwrap();
        refused(directory.path(), &["run"], 2, &parts);
    }
}

#[test]
fn code_that_does_not_compile() {
    let directory = TempDir::new().unwrap();
    crate_in(directory.path(), "broken", "", "fn main() { let x: u32 = \"\"; }");
    refused(
        directory.path(),
        &["run", "--port", "0"],
        1,
        &["mismatched types", "the build of `broken` failed"],
    );
}

#[test]
fn on_a_terminal_a_first_build_that_fails_is_tried_again_after_a_change() {
    let directory = TempDir::new().unwrap();
    crate_in(directory.path(), "broken", "", "fn main() { let x: u32 = \"\"; }");
    let run = format!("exec {} run --port 0", env!("CARGO_BIN_EXE_flash"));
    let mut terminal = Terminal::start(directory.path(), &run);
    let waits_after = |terminal: &Terminal, part: &str| {
        terminal
            .wait_until(part, |text| text.split_once(part).is_some_and(|(_, rest)| rest.contains("Waiting")));
    };
    waits_after(&terminal, "mismatched types");
    std::fs::write(directory.path().join("src/main.rs"), "fn main() { missing(); }").unwrap();
    waits_after(&terminal, "cannot find function `missing`");
    terminal.press(CTRL_C);
    let (status, text) = terminal.end();
    assert!(status.success(), "{status}: {text}");
}

#[test]
fn the_directory_may_be_named_before_the_command_and_after_it() {
    let directory = TempDir::new().unwrap();
    for place in ["a", "b"] {
        let place = directory.path().join(place);
        std::fs::create_dir(&place).unwrap();
        crate_in(&place, "broken", "", "fn main() {}");
    }
    let named = |arguments: &[&str]| {
        let run = finish(arguments, directory.path());
        assert_eq!(run.code, Some(2), "{run:?}");
        run.stderr
    };
    let after = named(&["status", "-C", "a"]);
    assert_eq!(named(&["-C", "a", "status"]), after);
    assert_eq!(named(&["-C", "b", "status", "-C", "../a"]), after);
    assert!(named(&["-C", "missing", "status"]).contains("cannot run in missing: No such file"));
}

#[test]
fn wrong_usage() {
    let directory = TempDir::new().unwrap();
    refused(directory.path(), &["run", "--prot", "1"], 2, &["unexpected argument '--prot'"]);
    refused(directory.path(), &["rum"], 2, &["unrecognized subcommand 'rum'"]);
}

#[test]
fn help_teaches() {
    let directory = TempDir::new().unwrap();
    for (arguments, parts) in [
        (vec!["--help"], vec!["Exit codes: 0", "run", "dev"]),
        (vec!["run", "--help"], vec!["/MODULE/FUNCTION/run_sync", "8888", "Examples:", "--no-reload"]),
    ] {
        let help = finish(&arguments, directory.path());
        assert_eq!(help.code, Some(0));
        for part in parts {
            assert!(help.stdout.contains(part), "`{part}` in: {}", help.stdout);
        }
    }
}
