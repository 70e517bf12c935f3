//! What `flash` prints, as a whole: the help of every command, and the errors that newcomers meet.
//!
//! The snapshots are for reading: each sentence should be one that you would find in a well-edited manual. To take
//! over changes: `INSTA_UPDATE=always cargo test -p flash-cli --test it printed`, then read the diff.
use std::{path::Path, process::Command};

use tempfile::TempDir;

use crate::support::{Finished, finish_with};

/// By a user who has nothing at home, in a directory where nothing is.
fn run(arguments: &[&str], directory: &Path) -> Finished {
    let home = directory.join("home");
    let home = home.to_str().unwrap();
    finish_with(
        arguments,
        directory,
        &[("HOME", home), ("XDG_CONFIG_HOME", home), ("FLASH_CONFIG_DIR", home), ("COLUMNS", "100")],
    )
}

/// Exit code, stdout and stderr, without what differs from one run to the next.
fn shown(arguments: &[&str], directory: &Path) -> String {
    let Finished { code, stdout, stderr } = run(arguments, directory);
    let parts = [("stdout", stdout), ("stderr", stderr)];
    let printed: String = parts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(stream, text)| format!("--- {stream}\n{}\n", text.trim_end()))
        .collect();
    let place = directory.canonicalize().unwrap();
    format!("$ flash {}\n{printed}--- exit code {}", arguments.join(" "), code.unwrap())
        .replace(place.to_str().unwrap(), "DIR")
}

/// The commands that a help text lists, apart from `help` itself.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    listed
        .take_while(|line| !line.is_empty())
        // A line that is indented further continues the one before.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect()
}

#[test]
fn help_of_every_command() {
    let directory = TempDir::new().unwrap();
    let mut open = vec![Vec::<String>::new()];
    let mut seen = 0;
    while let Some(command) = open.pop() {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = run(&arguments, directory.path());
        assert_eq!((help.code, &*help.stderr), (Some(0), ""), "{command:?}");
        insta::assert_snapshot!(["help", &command.join("-")].join("-").trim_end_matches('-'), help.stdout);
        open.extend(subcommands(&help.stdout).into_iter().map(|name| [&command[..], &[name]].concat()));
        seen += 1;
    }
    assert!(seen > 30, "only {seen} commands were found");
}

#[test]
fn errors_outside_of_a_crate() {
    let directory = TempDir::new().unwrap();
    let commands: &[&[&str]] = &[
        &["run"],
        &["run", "nowhere"],
        &["build"],
        &["deploy", "send", "production", "--yes"],
        &["deploy", "new", "production"],
        &["logs"],
        &["status"],
        &["call", "production", "hello", "{}"],
        &["cost"],
        &["cost", "estimate"],
        &["key", "list", "production"],
        &["secret", "set", "production", "TOKEN"],
        &["rollback"],
        &["catalog", "gpus"],
    ];
    let all: Vec<String> = commands.iter().map(|arguments| shown(arguments, directory.path())).collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn errors_of_wrong_usage() {
    let directory = TempDir::new().unwrap();
    let commands: &[&[&str]] = &[
        &["rnu"],
        &["run", "--prot", "8000"],
        &["run", "--port", "99999"],
        &["run", "--host", "nowhere.invalid"],
        &["call"],
        &["call", "production"],
        &["deploy", "send", "one", "two"],
        &["deploy", "send"],
        &["deploy", "new", "Not a name"],
        &["logs", "production", "--since", "yesterdayish"],
        &["logs", "production", "--search", "("],
        &["logs", "production", "--level", "loud"],
        &["cost", "estimate", "--requests-per-day", "many"],
        &["secret", "set", "production", "TOKEN", "value"],
        &["key", "revoke", "production"],
    ];
    let all: Vec<String> = commands.iter().map(|arguments| shown(arguments, directory.path())).collect();
    insta::assert_snapshot!(all.join("\n\n"));
}

#[test]
fn completions_are_a_script_that_the_shell_reads() {
    let directory = TempDir::new().unwrap();
    let script = run(&["completions", "bash"], directory.path());
    assert_eq!((script.code, &*script.stderr), (Some(0), ""));
    let path = directory.path().join("flash.bash");
    std::fs::write(&path, script.stdout).unwrap();
    let complete = "source \"$0\" && COMP_WORDS=(flash deploy s) COMP_CWORD=2 && _flash flash s deploy && echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", complete]).arg(&path).output().unwrap();
    let read = Finished::of(output);
    assert_eq!((read.code, read.stdout.trim()), (Some(0), "send"), "{read:?}");

    let unknown =
        finish_with(&["completions"], directory.path(), &[("SHELL", "/bin/none"), ("RUST_BACKTRACE", "0")]);
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("name one: bash,"), "{}", unknown.stderr);
}

#[test]
fn each_command_has_a_manual_page() {
    let directory = TempDir::new().unwrap();
    let written = run(&["man", "--dir", "pages/man1"], directory.path());
    assert_eq!(written.code, Some(0), "{written:?}");
    for (page, says) in [("flash.1", "Serverless workers"), ("flash-deploy-send.1", "allow\\-breaking")] {
        let text = std::fs::read_to_string(directory.path().join("pages/man1").join(page)).unwrap();
        assert!(text.contains(".TH flash") && text.contains(says), "{page}: {text}");
    }
    assert!(run(&["man"], directory.path()).stdout.contains(".TH flash"));

    std::fs::write(directory.path().join("file"), "").unwrap();
    let refused = run(&["man", "--dir", "file/man1"], directory.path());
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("cannot write manual pages to file/man1"), "{}", refused.stderr);
}
