//! `flash key`.
use clap::{Args, Subcommand};
use flash_target::KeyEntry;
use serde_json::json;

use super::{
    command::{Command, Context},
    scope::{OneEnvironment, ScopeArguments},
    time::local_time,
};
use crate::{
    credentials::CredentialStore,
    exit::{Code, Failure},
    output::{Format, Output},
};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage, or no such \
                          environment or key.";

/// Manage the keys of an environment. The environment stores only their hashes.
#[derive(Args)]
#[command(
    after_help = format!("Examples:\n  flash key list production\n  flash key new production --label ci\n  \
                  flash key new production --use\n  flash key revoke production flash_1a2b3c\n\n{EXIT_CODES}")
)]
pub(crate) struct KeyArguments {
    #[command(subcommand)]
    command: KeyCommand,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// List keys by their first characters.
    List(OneEnvironment),
    /// Make another key and show it once.
    New(NewKeyArguments),
    /// Revoke a key: it opens nothing from now on.
    Revoke(RevokeArguments),
}

#[derive(Args)]
struct NewKeyArguments {
    #[command(flatten)]
    environment: OneEnvironment,
    /// What the key is for, in your own words.
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
    /// Store it in your credential file in place of the current one: use this to rotate your key.
    #[arg(long = "use")]
    used: bool,
}

#[derive(Args)]
struct RevokeArguments {
    /// The environment [default: the only one of the app], and the first characters of the key.
    #[arg(value_names = ["ENV", "PREFIX"], num_args = 1..=2, required = true)]
    names: Vec<String>,
    #[command(flatten)]
    scope: ScopeArguments,
}

impl Command for KeyArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let output = context.output();
        context.block_on(async {
            match self.command {
                KeyCommand::List(environment) => list(environment, output).await,
                KeyCommand::New(arguments) => new(arguments, output).await,
                KeyCommand::Revoke(arguments) => revoke(arguments, output).await,
            }
        })?;
        Ok(Code::Success)
    }
}

async fn list(environment: OneEnvironment, output: &Output) -> Result<(), Failure> {
    let scope = environment.scope.environment(environment.name.as_deref()).await?;
    let keys = scope.target.keys(&scope.id).await?;
    if output.is_json() {
        output.object(&json!({ "environment": scope.id, "keys": keys }));
        return Ok(());
    }
    let own = CredentialStore::of_user()?.environment(&scope.id)?;
    let is_own = |entry: &KeyEntry| own.as_ref().is_some_and(|own| own.key.starts_with(&entry.prefix));
    let row = |entry: &KeyEntry| {
        let state = match entry.revoked_ms {
            Some(at) => format!("revoked {}", local_time(at)),
            None if is_own(entry) => "yours".to_owned(),
            None => "valid".to_owned(),
        };
        vec![format!("{}…", entry.prefix), state, local_time(entry.created_ms), entry.label.clone()]
    };
    output.table(&["key", "state", "created", "label"], &keys.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

async fn new(arguments: NewKeyArguments, output: &Output) -> Result<(), Failure> {
    let NewKeyArguments { environment: OneEnvironment { name, scope }, label, used } = arguments;
    let scope = scope.environment(name.as_deref()).await?;
    let new = scope.target.new_key(&scope.id, &label).await?;
    let key = new.key.expose();
    // The key exists from here on: show it even if a later step fails.
    match output.is_json() {
        true => {
            output.object(&json!({ "environment": scope.id, "key": key, "entry": new.entry, "used": used }))
        }
        false => {
            output.line(key);
            // "The line above" is only true if both streams go to one terminal in order.
            output.flush();
            output.status("Key", "the line above; it is not shown again");
        }
    }
    if used {
        CredentialStore::of_user()?.set_key(&scope.id, &new.key)?;
        output.status(
            "Kept",
            "your commands use it from now on; revoke the old one: flash key list, flash key revoke",
        );
    }
    Ok(())
}

async fn revoke(arguments: RevokeArguments, output: &Output) -> Result<(), Failure> {
    let (name, prefix) = match arguments.names.as_slice() {
        [prefix] => (None, prefix),
        [name, prefix, ..] => (Some(name.as_str()), prefix),
        [] => return Err(Failure::unusable("no key given").hint("to list them: flash key list")),
    };
    // As printed by `list`.
    let prefix = prefix.trim_end_matches('…');
    let scope = arguments.scope.environment(name).await?;
    let entry = scope.target.revoke_key(&scope.id, prefix).await?;
    match output.is_json() {
        true => output.object(&json!({ "environment": scope.id, "revoked": entry })),
        false => output.status("Revoked", &format!("{}… no longer opens {}", entry.prefix, scope.id)),
    }
    let own = CredentialStore::of_user()?.environment(&scope.id)?;
    if own.is_some_and(|own| own.key.starts_with(&entry.prefix)) {
        let name = &scope.id.name;
        output.warning(&format!("this was your own key; make a new one: flash key new {name} --use"));
    }
    Ok(())
}
