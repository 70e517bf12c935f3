//! `flash key`.
use clap::{Args, Subcommand};
use serde_json::json;

use super::{
    deploy::{OneEnvironment, block_on, time},
    place::PlaceArguments,
};
use crate::{credentials::CredentialStore, exit::Failure, output::Output, target::KeyEntry};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 it was tried and failed; 2 wrong usage, or there is no such \
                          environment or key.";

/// Keys that open an environment. Only their hashes are kept where the environment is.
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
    pub json: bool,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// List keys by how they begin.
    List(OneEnvironment),
    /// Make one more key, and show it once.
    New(NewKeyArguments),
    /// Let a key open nothing from now on.
    Revoke(RevokeArguments),
}

#[derive(Args)]
struct NewKeyArguments {
    #[command(flatten)]
    environment: OneEnvironment,
    /// What it is for, in your words.
    #[arg(long, value_name = "TEXT", default_value = "")]
    label: String,
    /// Keep it in your credential file instead of the one there: how a key is rotated.
    #[arg(long = "use")]
    used: bool,
}

#[derive(Args)]
struct RevokeArguments {
    /// The environment [default: the only one of the app], and how the key begins.
    #[arg(value_names = ["ENV", "PREFIX"], num_args = 1..=2, required = true)]
    names: Vec<String>,
    #[command(flatten)]
    place: PlaceArguments,
}

/// Runs it.
pub(crate) fn run(arguments: KeyArguments, output: &Output) -> Result<(), Failure> {
    let KeyArguments { command, json } = arguments;
    block_on(async {
        match command {
            KeyCommand::List(environment) => list(environment, json, output).await,
            KeyCommand::New(arguments) => new(arguments, json, output).await,
            KeyCommand::Revoke(arguments) => revoke(arguments, json, output).await,
        }
    })
}

async fn list(environment: OneEnvironment, json: bool, output: &Output) -> Result<(), Failure> {
    let place = environment.place.environment(environment.name.as_deref()).await?;
    let keys = place.target.keys(&place.id).await?;
    if json {
        output.object(&json!({ "environment": place.id, "keys": keys }));
        return Ok(());
    }
    let own = CredentialStore::of_user()?.environment(&place.id)?;
    let is_own = |entry: &KeyEntry| own.as_ref().is_some_and(|own| own.key.starts_with(&entry.prefix));
    let row = |entry: &KeyEntry| {
        let state = match entry.revoked_ms {
            Some(at) => format!("revoked {}", time(at)),
            None if is_own(entry) => "yours".to_owned(),
            None => "valid".to_owned(),
        };
        vec![format!("{}…", entry.prefix), state, time(entry.created_ms), entry.label.clone()]
    };
    output.table(&["key", "state", "made", "label"], &keys.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

async fn new(arguments: NewKeyArguments, json: bool, output: &Output) -> Result<(), Failure> {
    let NewKeyArguments { environment: OneEnvironment { name, place }, label, used } = arguments;
    let place = place.environment(name.as_deref()).await?;
    let new = place.target.new_key(&place.id, &label).await?;
    let key = new.key.expose();
    // It exists from here on: whatever fails now, it must be seen.
    match json {
        true => {
            output.object(&json!({ "environment": place.id, "key": key, "entry": new.entry, "used": used }))
        }
        false => {
            output.line(key);
            // "The line above", where both go to one terminal.
            output.flush();
            output.status("Key", "the line above; it is not shown again");
        }
    }
    if used {
        CredentialStore::of_user()?.set_key(&place.id, &new.key)?;
        output.status(
            "Kept",
            "it is yours from now on; revoke the one before: flash key list, flash key revoke",
        );
    }
    Ok(())
}

async fn revoke(arguments: RevokeArguments, json: bool, output: &Output) -> Result<(), Failure> {
    let (name, prefix) = match arguments.names.as_slice() {
        [prefix] => (None, prefix),
        [name, prefix, ..] => (Some(name.as_str()), prefix),
        [] => return Err(Failure::unusable("no key is named").hint("which ones there are: flash key list")),
    };
    // As `list` prints it.
    let prefix = prefix.trim_end_matches('…');
    let place = arguments.place.environment(name).await?;
    let entry = place.target.revoke_key(&place.id, prefix).await?;
    match json {
        true => output.object(&json!({ "environment": place.id, "revoked": entry })),
        false => output.status("Revoked", &format!("{}… opens {} no more", entry.prefix, place.id)),
    }
    let own = CredentialStore::of_user()?.environment(&place.id)?;
    if own.is_some_and(|own| own.key.starts_with(&entry.prefix)) {
        let name = &place.id.name;
        output.warning(&format!("this was your own key: make another one: flash key new {name} --use"));
    }
    Ok(())
}
