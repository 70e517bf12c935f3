//! `flash deploy`, `flash env`, and the commands that are also subcommands of these.
use clap::{Args, Subcommand};

use super::{
    history::HistoryArguments,
    info::InfoArguments,
    list::ListArguments,
    manifest::ManifestArguments,
    new::NewArguments,
    remove::RemoveArguments,
    rollback::RollbackArguments,
    send::{SendArguments, SendOptions},
    subcommand::EnvironmentCommand,
    upgrade::UpgradeArguments,
};
use crate::{
    commands::command::{Command, Context},
    exit::{Code, Failure},
    output::{Format, Output},
};

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
    send: SendOptions,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
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
    json: bool,
}

#[derive(Subcommand)]
enum DeployCommand {
    New(NewArguments),
    Send(SendArguments),
    List(ListArguments),
    Info(InfoArguments),
    History(HistoryArguments),
    Rollback(RollbackArguments),
    Remove(RemoveArguments),
    Upgrade(UpgradeArguments),
    Manifest(ManifestArguments),
}

impl DeployArguments {
    /// The command that is meant. Flags of the short form cannot be combined with a subcommand; clap would reject
    /// `--json` there.
    fn meant(self) -> Result<DeployCommand, Failure> {
        let Self { command, env, send, json: _ } = self;
        match command {
            None => Ok(DeployCommand::Send(SendArguments { name: env, options: send })),
            Some(_) if env.is_some() || send.are_given() => Err(Failure::unusable(
                "flags before a subcommand belong to `flash deploy` without a subcommand",
            )
            .hint("put them after the subcommand: flash deploy send production --yes")),
            Some(command) => Ok(command),
        }
    }
}

impl EnvironmentCommand for DeployCommand {
    async fn run(self, output: &Output) -> Result<Code, Failure> {
        match self {
            Self::New(arguments) => arguments.run(output).await,
            Self::Send(arguments) => arguments.run(output).await,
            Self::List(arguments) => arguments.run(output).await,
            Self::Info(arguments) => arguments.run(output).await,
            Self::History(arguments) => arguments.run(output).await,
            Self::Rollback(arguments) => arguments.run(output).await,
            Self::Remove(arguments) => arguments.run(output).await,
            Self::Upgrade(arguments) => arguments.run(output).await,
            Self::Manifest(arguments) => arguments.run(output).await,
        }
    }
}

impl Command for DeployArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(self.meant()?.run(context.output()))
    }
}

impl Command for EnvironmentArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(self.command.run(context.output()))
    }
}

/// A subcommand of `flash deploy` that is also a command by itself.
#[derive(Args)]
pub(crate) struct Alone<T: Args> {
    #[command(flatten)]
    arguments: T,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl<T: Args + EnvironmentCommand> Command for Alone<T> {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(self.arguments.run(context.output()))
    }
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
