//! `flash deploy` and `flash env`: environments and what is live in them.
//!
//! One file per subcommand; `live` finishes a release that has gone live.
mod artifact;
mod history;
mod info;
mod list;
mod live;
mod new;
mod remove;
mod rollback;
mod send;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub(crate) use self::{history::HistoryArguments, remove::RemoveArguments, rollback::RollbackArguments};
use crate::{exit::Failure, output::Output};

/// The exit codes, for `--help`.
const EXIT_CODES: &str = "Exit codes: 0 done, or nothing to do; 1 failed; 2 wrong usage, a \
                          missing confirmation, or with --plan: there are changes (all other errors are then 1).";

/// Deploy an app to an environment and keep it running there.
///
/// Without a subcommand: the same as `flash deploy send`. Builds the app, shows what would change, asks, starts the
/// new release beside the live one, switches traffic when it is ready, and checks that it answers. A release that
/// does not become ready is undone, and the live one never stops serving.
#[derive(Args)]
#[command(
    after_help = format!("Examples:\n  flash deploy new production\n  flash deploy --env production\n  \
                  flash deploy send production --plan\n  flash deploy rollback production\n  flash deploy list\n\n{EXIT_CODES}")
)]
pub(crate) struct DeployArguments {
    #[command(subcommand)]
    command: Option<DeployCommand>,
    /// The environment [default: the only one of the app].
    #[arg(long, value_name = "ENV")]
    env: Option<String>,
    #[command(flatten)]
    send: send::SendOptions,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// Manage environments: the subcommands of `flash deploy` under another name.
#[derive(Args)]
#[command(
    after_help = format!("Examples:\n  flash env new staging\n  flash env list\n  flash env remove staging\n\n{EXIT_CODES}")
)]
pub(crate) struct EnvironmentArguments {
    #[command(subcommand)]
    command: DeployCommand,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
enum DeployCommand {
    New(new::NewArguments),
    Send(send::SendArguments),
    List(list::ListArguments),
    Info(info::InfoArguments),
    History(HistoryArguments),
    Rollback(RollbackArguments),
    Remove(RemoveArguments),
}

/// The result of a successful command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Done,
    /// With `--plan`: something would change.
    Changes,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::SUCCESS,
            Ending::Changes => Self::from(2),
        }
    }
}

impl DeployArguments {
    /// The command that is meant. Flags of the short form cannot be combined with a subcommand; clap would reject
    /// `--json` there.
    fn meant(self) -> Result<DeployCommand, Failure> {
        let Self { command, env, send, json: _ } = self;
        match command {
            None => Ok(DeployCommand::Send(send::SendArguments { name: env, options: send })),
            Some(_) if env.is_some() || send.are_given() => Err(Failure::unusable(
                "flags before a subcommand belong to `flash deploy` without a subcommand",
            )
            .hint("put them after the subcommand: flash deploy send production --yes")),
            Some(command) => Ok(command),
        }
    }
}

/// Runs it.
pub(crate) fn run(arguments: DeployArguments, output: &Output) -> Result<Ending, Failure> {
    let json = arguments.json;
    run_command(arguments.meant()?, json, output)
}

/// Runs `flash env`.
pub(crate) fn run_environment(arguments: EnvironmentArguments, output: &Output) -> Result<Ending, Failure> {
    run_command(arguments.command, arguments.json, output)
}

/// A subcommand of `flash deploy` that is also a command by itself.
#[derive(Args)]
pub(crate) struct Alone<T: Args> {
    #[command(flatten)]
    arguments: T,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs `flash rollback`.
pub(crate) fn run_rollback(alone: Alone<RollbackArguments>, output: &Output) -> Result<Ending, Failure> {
    run_command(DeployCommand::Rollback(alone.arguments), alone.json, output)
}

/// Runs `flash history`.
pub(crate) fn run_history(alone: Alone<HistoryArguments>, output: &Output) -> Result<Ending, Failure> {
    run_command(DeployCommand::History(alone.arguments), alone.json, output)
}

/// Runs `flash remove`.
pub(crate) fn run_remove(alone: Alone<RemoveArguments>, output: &Output) -> Result<Ending, Failure> {
    run_command(DeployCommand::Remove(alone.arguments), alone.json, output)
}

fn run_command(command: DeployCommand, json: bool, output: &Output) -> Result<Ending, Failure> {
    block_on(async {
        match command {
            DeployCommand::Send(arguments) => return send::run(arguments, json, output).await,
            DeployCommand::New(arguments) => new::run(arguments, json, output).await,
            DeployCommand::List(arguments) => list::run(arguments, json, output).await,
            DeployCommand::Info(arguments) => info::run(arguments, json, output).await,
            DeployCommand::History(arguments) => history::run(arguments, json, output).await,
            DeployCommand::Rollback(arguments) => rollback::run(arguments, json, output).await,
            DeployCommand::Remove(arguments) => remove::run(arguments, json, output).await,
        }
        .map(|()| Ending::Done)
    })
}

/// Runs a command to completion.
///
/// # Errors
/// Those of the command, and when no runtime can be started.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("could not start the async runtime: {error}")))?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: DeployArguments,
    }

    fn parse(words: &str) -> Result<DeployArguments, String> {
        let line = Line::try_parse_from(std::iter::once("deploy").chain(words.split_whitespace()));
        line.map(|line| line.arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn the_short_way_takes_the_flags_of_send() {
        let short = parse("--env production --yes --allow-breaking --release-notes x --json").unwrap();
        assert!(short.command.is_none() && short.send.yes && short.send.allow_breaking && short.json);
        assert_eq!(short.env.as_deref(), Some("production"));
        let long = parse("send production --plan --json").unwrap();
        assert!(long.json);
        let Some(DeployCommand::Send(send)) = long.command else { panic!("it is send") };
        assert!(send.options.plan && send.name.as_deref() == Some("production"));
    }

    #[test]
    fn flags_that_contradict_each_other_are_refused() {
        for words in ["--plan --plan-file f", "--save-plan a --plan-file b", "send a b", "remove"] {
            assert!(parse(words).is_err(), "{words}");
        }
        for words in ["--yes list", "--env a send b", "-C x info", "--features a list", "--plan send a"] {
            assert!(parse(words).unwrap().meant().is_err(), "{words}");
        }
    }

    #[test]
    fn json_may_be_asked_for_before_and_after_a_subcommand() {
        for words in ["--json list", "list --json", "--json send production", "--json", "--json rollback a 3"]
        {
            let arguments = parse(words).unwrap_or_else(|error| panic!("{words}: {error}"));
            assert!(arguments.json, "{words}");
            assert!(arguments.meant().is_ok(), "{words}");
        }
    }

    #[test]
    fn a_release_may_be_named_without_its_environment() {
        for (words, name, release) in [
            ("rollback", None, None),
            ("rollback 3", None, Some(3)),
            ("rollback production", Some("production"), None),
            ("rollback production 3", Some("production"), Some(3)),
        ] {
            let Some(DeployCommand::Rollback(found)) = parse(words).unwrap().command else {
                panic!("{words}")
            };
            let (found_name, found_release) = found.meant().unwrap();
            assert_eq!((found_name.as_deref(), found_release), (name, release), "{words}");
        }
        let Some(DeployCommand::Rollback(wrong)) = parse("rollback production three").unwrap().command else {
            panic!("it is rollback")
        };
        assert!(wrong.meant().unwrap_err().to_string().contains("`three` is not a release number"));
    }
}
