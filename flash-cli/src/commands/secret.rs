//! `flash secret`.
use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use dialoguer::Password;
use flash_target::{EnvironmentId, SecretEntry, SecretValue};
use serde_json::json;

use super::{
    command::{Command, Context},
    prompt::prompt,
    scope::{OneEnvironment, ScopeArguments},
    time::local_time,
};
use crate::{
    exit::{Code, Failure},
    output::{Format, Output},
    project::check_variable_name,
};

/// The longest value: a larger one should be a file.
const MAX_BYTES: u64 = 64 * 1024;
const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage, or no such \
                          environment or secret.";

/// Manage the secrets of an environment: variables of its workers whose values cannot be read back.
///
/// Secrets are encrypted at rest and never appear in logs, plans or JSON. A change takes effect with the next
/// release.
#[derive(Args)]
#[command(
    after_help = format!("Examples:\n  flash secret set production HF_TOKEN\n  pass hf | flash secret set HF_TOKEN\n  \
                  flash secret set HF_TOKEN --from-file token.txt\n  flash secret list production\n  \
                  flash secret remove production HF_TOKEN\n\n{EXIT_CODES}")
)]
pub(crate) struct SecretArguments {
    #[command(subcommand)]
    command: SecretCommand,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum SecretCommand {
    /// Set a secret: prompts for it on a terminal without showing it, else reads it from stdin.
    Set(SetArguments),
    /// List the names. Values cannot be read.
    List(OneEnvironment),
    /// Remove a secret.
    Remove(OneSecret),
}

#[derive(Args)]
struct SetArguments {
    #[command(flatten)]
    secret: OneSecret,
    /// Read the value from a file. One trailing newline is ignored.
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

/// A secret, and an environment that is optional if the app has only one.
#[derive(Args)]
struct OneSecret {
    /// The environment [default: the only one of the app], and the secret's name, which is a variable name.
    // A third word would be a value. It is accepted here so that our own message rejects it: clap would print it.
    #[arg(value_names = ["ENV", "NAME"], num_args = 1.., required = true)]
    names: Vec<String>,
    #[command(flatten)]
    scope: ScopeArguments,
}

/// Other users can read command lines: the value is known to everybody on this machine.
fn value_on_the_command_line(environment: &str, name: &str) -> Failure {
    Failure::unusable("do not pass secrets as arguments: other users can read the command line").hint(
        format!(
            "choose a new value and pass it on stdin: flash secret set {environment} {name} < FILE; on a terminal, \
             `flash secret set {environment} {name}` prompts for it"
        ),
    )
}

impl OneSecret {
    /// The environment, if given, and the secret. Messages never contain a word that may be a value.
    fn meant(&self) -> Result<(Option<&str>, &str), Failure> {
        let is_variable = |word: &str| check_variable_name(word).is_ok();
        let is_environment = |word: &str| EnvironmentId::new("", word).is_ok();
        let (environment, name) = match self.names.as_slice() {
            [] => return Err(Failure::unusable("no secret given")),
            [name] => (None, name),
            [environment, name] if is_environment(environment) => (Some(environment.as_str()), name),
            [environment, name, ..] if is_environment(environment) => {
                let name = if is_variable(name) { name } else { "NAME" };
                return Err(value_on_the_command_line(environment, name));
            }
            // The first word is not an environment's name: `TOKEN VALUE`.
            [name, ..] if is_variable(name) => return Err(value_on_the_command_line("ENV", name)),
            [environment, name, ..] => (Some(environment.as_str()), name),
        };
        if let Some((name, _)) = name.split_once('=') {
            let name = if is_variable(name) { name } else { "NAME" };
            return Err(value_on_the_command_line(environment.unwrap_or("ENV"), name));
        }
        check_variable_name(name).map_err(Failure::unusable)?;
        Ok((environment, name))
    }
}

impl Command for SecretArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let output = context.output();
        context.block_on(async {
            match self.command {
                SecretCommand::Set(arguments) => set(arguments, output).await,
                SecretCommand::List(environment) => list(environment, output).await,
                SecretCommand::Remove(secret) => remove(secret, output).await,
            }
        })?;
        Ok(Code::Success)
    }
}

async fn set(arguments: SetArguments, output: &Output) -> Result<(), Failure> {
    let SetArguments { secret, from_file } = arguments;
    let (environment, name) = secret.meant()?;
    let scope = secret.scope.environment(environment).await?;
    // Do not prompt for the secret of an environment that does not exist.
    scope.target.environment(&scope.id).await?;
    let value = tokio::task::block_in_place(|| value(&format!("Value of {name}"), from_file.as_deref()))?;
    let entry = scope.target.set_secret(&scope.id, name, &value).await?;
    let next = &scope.id.name;
    match output.is_json() {
        true => output.object(&json!({ "environment": scope.id, "secret": entry })),
        false => output.status("Set", &format!("{name} in {}", scope.id)),
    }
    output.status("Next", &format!("it takes effect with the next release: flash deploy send {next}"));
    Ok(())
}

/// Prompts on a terminal without showing the value, else reads the file or stdin.
pub(super) fn value(label: &str, file: Option<&Path>) -> Result<SecretValue, Failure> {
    let text = match file {
        Some(path) => {
            let read = std::fs::File::open(path).and_then(read_some);
            read.map_err(|error| Failure::unusable(format!("cannot read {}: {error}", path.display())))?
        }
        None if std::io::stdin().is_terminal() => {
            return prompt(|| Password::new().with_prompt(label).interact()).map(SecretValue::new);
        }
        None => {
            let read = read_some(std::io::stdin().lock());
            read.map_err(|error| Failure::unusable(format!("cannot read the value from stdin: {error}")))?
        }
    };
    checked(&text)
}

fn read_some(from: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The value without one trailing newline. Messages never contain any part of it.
fn checked(bytes: &[u8]) -> Result<SecretValue, Failure> {
    let bytes = bytes.strip_suffix(b"\n").map_or(bytes, |line| line.strip_suffix(b"\r").unwrap_or(line));
    let text = match std::str::from_utf8(bytes) {
        Ok("") => return Err(Failure::unusable("the value is empty: nothing was set")),
        Ok(text) if text.len() as u64 > MAX_BYTES => {
            return Err(Failure::unusable(format!("the value is longer than {MAX_BYTES} bytes")));
        }
        Ok(text) if text.contains('\0') => {
            return Err(Failure::unusable(
                "the value contains a NUL character, which a variable cannot hold",
            ));
        }
        Ok(text) => text,
        Err(_) => return Err(Failure::unusable("the value is not valid UTF-8")),
    };
    Ok(SecretValue::new(text.to_owned()))
}

async fn list(environment: OneEnvironment, output: &Output) -> Result<(), Failure> {
    let scope = environment.scope.environment(environment.name.as_deref()).await?;
    let secrets = scope.target.secrets(&scope.id).await?;
    if output.is_json() {
        output.object(&json!({ "environment": scope.id, "secrets": secrets }));
        return Ok(());
    }
    let row =
        |entry: &SecretEntry| vec![entry.name.clone(), local_time(entry.set_ms), entry.version.to_string()];
    output.table(&["secret", "set", "times set"], &secrets.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

async fn remove(secret: OneSecret, output: &Output) -> Result<(), Failure> {
    let (environment, name) = secret.meant()?;
    let scope = secret.scope.environment(environment).await?;
    scope.target.remove_secret(&scope.id, name).await?;
    match output.is_json() {
        true => output.object(&json!({ "environment": scope.id, "removed": name })),
        false => output.status("Removed", &format!("{name} from {}", scope.id)),
    }
    let next = &scope.id.name;
    output.status("Next", &format!("workers keep it until the next release: flash deploy send {next}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_no_part_of_a_secret() {
        for (given, meant) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a b ", " a b ")]
        {
            assert_eq!(checked(given.as_bytes()).unwrap().expose(), meant);
        }
    }

    #[test]
    fn a_value_that_no_worker_can_get_is_refused_without_telling_it() {
        let long = "x".repeat(65_537);
        for bytes in [&b""[..], b"\n", b"sec\0ret", b"secret\xff", long.as_bytes()] {
            let error = checked(bytes).unwrap_err().to_string();
            assert!(!error.contains("secret") && !error.contains("xx"), "{error}");
        }
    }

    #[test]
    fn names_are_those_of_variables_and_hold_no_value() {
        let of = |names: &[&str]| OneSecret {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            scope: ScopeArguments { directory: ".".into(), app: None, target: None },
        };
        assert_eq!(of(&["TOKEN"]).meant().unwrap(), (None, "TOKEN"));
        assert_eq!(of(&["a", "TOKEN"]).meant().unwrap(), (Some("a"), "TOKEN"));
        for wrong in ["FLASH_X", "RUNPOD_API_KEY", "PORT", "1A", "A-B", ""] {
            assert!(of(&[wrong]).meant().is_err(), "{wrong}");
        }
        for words in [
            &["TOKEN=hunter2"][..],
            &["production", "TOKEN=hunter2"],
            &["production", "TOKEN", "hunter2"],
            &["TOKEN", "hunter2"],
            &["TOKEN", "hunter2", "more of hunter2"],
            &["production", "TOKEN", "hunter2", "hunter2"],
            &["production", "the hunter2=hunter2"],
        ] {
            let error = of(words).meant().unwrap_err().to_string();
            let is_told = error.contains("stdin") && error.contains("flash secret set");
            assert!(is_told && !error.contains("hunter2"), "{words:?}: {error}");
        }
    }
}
