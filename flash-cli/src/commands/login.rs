//! `flash login` and `flash logout`: the key of the user's Runpod account.
use std::path::{Path, PathBuf};

use clap::Args;
use flash_target::{SecretValue, TargetError};
use flash_target_runpod::{
    account::{self, FoundKey, KeySource},
    rest::{Addresses, Rest},
};
use serde_json::json;

use super::{
    command::{Command, Context},
    secret,
};
use crate::{
    exit::{Code, Failure},
    output::{Format, Output},
};

/// Store the key of your Runpod account, for the target `runpod`.
///
/// Prompts for it on a terminal without showing it, else reads it from stdin; checks it with one read-only call;
/// stores it in your configuration directory, in a file that only you can read. RUNPOD_API_KEY and the project's
/// .env override it.
#[derive(Args)]
#[command(after_help = "Examples:\n  flash login\n  pass runpod | flash login\n  flash login --check\n\n\
                  Exit codes: 0 the key works and is stored; 1 Runpod could not be reached; 2 the key is \
                  invalid or was rejected.")]
pub(crate) struct LoginArguments {
    /// Only show which key is in use, and whether it works.
    #[arg(long)]
    check: bool,
    /// The project's directory; its .env is searched for a key.
    #[arg(long = "dir", short = 'C', value_name = "DIR", default_value = ".")]
    directory: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Delete the key stored by `flash login`.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash logout\n\nExit codes: 0 no key is stored; 1 it could not be removed."
)]
pub(crate) struct LogoutArguments {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Command for LoginArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let output = context.output();
        context.block_on(async {
            match self.check {
                true => check(&self.directory, output).await,
                false => log_in(&self.directory, output).await,
            }
        })?;
        Ok(Code::Success)
    }
}

/// Shows which key is in use, and whether it works.
async fn check(directory: &Path, output: &Output) -> Result<(), Failure> {
    let found = in_use(directory)?.ok_or_else(account::no_key)?;
    let endpoints = works(found.key.clone()).await?;
    print_account("Works", &found.source, endpoints, output);
    Ok(())
}

/// Prompts for a key, checks it and stores it.
async fn log_in(directory: &Path, output: &Output) -> Result<(), Failure> {
    let key = tokio::task::block_in_place(|| secret::value("Runpod API key", None))?;
    let key = SecretValue::new(key.expose().trim().to_owned());
    let endpoints = works(key.clone()).await?;
    let path = account::keep(&key)?;
    print_account("Kept", &KeySource::Login(path.clone()), endpoints, output);
    let in_use = in_use(directory)?;
    if let Some(FoundKey { source, .. }) = in_use.filter(|found| found.source != KeySource::Login(path)) {
        output.warning(&format!("{source} overrides it here: that key is used, not this one"));
    }
    Ok(())
}

fn in_use(directory: &Path) -> Result<Option<FoundKey>, TargetError> {
    account::find(Some(directory))
}

/// Makes one read-only call; returns how many endpoints the account has.
async fn works(key: SecretValue) -> Result<usize, TargetError> {
    let rest = Rest::new(key, Addresses::from_environment()?)?;
    Ok(rest.endpoints().await?.len())
}

fn print_account(verb: &str, source: &KeySource, endpoints: usize, output: &Output) {
    match output.is_json() {
        true => output.object(&json!({ "key": source.to_string(), "works": true, "endpoints": endpoints })),
        false => {
            output.status(
                verb,
                &format!("the key in {source}: its account has {endpoints} serverless endpoints"),
            );
        }
    }
}

impl Command for LogoutArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        log_out(context.output())?;
        Ok(Code::Success)
    }
}

fn log_out(output: &Output) -> Result<(), Failure> {
    let forgotten = account::forget()?;
    match &forgotten {
        _ if output.is_json() => output.object(&json!({ "forgotten": forgotten })),
        Some(path) => output.status("Forgotten", &format!("the key in {}", path.display())),
        None => output.status("Unchanged", "no key is stored"),
    }
    if let Some(FoundKey { source, .. }) = in_use(Path::new("."))? {
        output.warning(&format!("{source} still has a key, which is used here"));
    }
    Ok(())
}
