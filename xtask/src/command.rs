//! Finds, prints and runs other programs.
use std::{
    ffi::OsStr,
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{failure::Failure, output, workspace};

/// Variables that `cargo run` sets for this program and that must not reach other cargo processes: build scripts
/// that watch them would run again, and much of the build with them.
const OF_CARGO_RUN: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_NAME", "CARGO_CRATE_NAME"];

/// A program to run in the workspace's root.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(workspace::root());
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| OF_CARGO_RUN.iter().any(|own| name.starts_with(own))) {
            command.env_remove(name);
        }
    }
    command
}

/// Cargo, to run in the workspace's root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command("cargo", arguments)
}

/// Prints a command and runs it to its end; its output passes through.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let line = shown(command);
    output::say("Running", &line);
    let status = command.status().map_err(|error| not_started(command, &error))?;
    match status.success() {
        true => Ok(()),
        false => Err(Failure::new(format!("`{line}` ended with {status}"))),
    }
}

/// Whether a command starts and succeeds. Prints nothing.
pub(crate) fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = command(program, arguments);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The output of a command on stdout.
///
/// # Errors
/// When it cannot be started or does not succeed.
pub(crate) fn read(command: &mut Command) -> Result<String, Failure> {
    let line = shown(command);
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| not_started(command, &error))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(Failure::new(format!("`{line}` ended with {}", output.status))),
    }
}

/// The path of a program, from `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file())
}

fn not_started(command: &Command, error: &io::Error) -> Failure {
    Failure::new(format!("cannot start `{}`: {error}", command.get_program().display()))
}

/// The command as you would type it, with the variables that it sets.
pub(crate) fn shown(command: &Command) -> String {
    let variables =
        command.get_envs().filter_map(|(name, value)| Some(format!("{}={}", name.display(), quoted(value?))));
    let words = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted);
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    match word.is_empty() || word.contains(|char: char| char.is_whitespace() || "'\"$&|;<>()*".contains(char))
    {
        true => format!("'{}'", word.replace('\'', "'\\''")),
        false => word.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_typed() {
        let mut command = Command::new("cargo");
        command.args(["doc", "it's"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(shown(&command), "RUSTDOCFLAGS='-D warnings' cargo doc 'it'\\''s'");
    }

    #[test]
    fn programs_are_found_by_path() {
        assert!(find("cargo").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
