//! `flash cost`: what an environment has cost, and what an app would cost.
//!
//! The two halves are `spent` and `estimate`.
mod estimate;
mod spent;

use clap::{Args, Subcommand, ValueEnum};

use super::scope::ScopeArguments;
use crate::{exit::Failure, output::Output};

/// The default start of the period.
const USUAL_SINCE: &str = "24h";

/// Show what an environment has cost, or estimate what an app would cost.
///
/// Workers are billed from start to end, each rounded up to whole seconds: for starting, for running calls, and for
/// idling. Amounts are exact, in dollars.
#[derive(Args)]
#[command(after_help = "Examples:\n  flash cost production\n  flash cost production --since 7d --by day\n  \
                  flash cost production --by function --json | jq '.rows[].nanodollars'\n  \
                  flash cost estimate --seconds preprocess_worker=0.05 --seconds inference_worker=0.2\n  \
                  flash cost estimate --from production --since 7d\n\n\
                  Exit codes: 0 success; 1 the target cannot be reached; 2 no such environment, or wrong usage.")]
pub(crate) struct CostArguments {
    #[command(subcommand)]
    command: Option<CostCommand>,
    /// The environment [default: the only one].
    #[arg(value_name = "ENV")]
    environment: Option<String>,
    /// Start of the period: how long ago, such as 90m, 24h or 7d, or a time, such as 2026-11-23T12:00Z.
    #[arg(long, default_value = USUAL_SINCE)]
    since: String,
    /// What to group by.
    #[arg(long, value_enum, default_value_t = By::Worker)]
    by: By,
    #[command(flatten)]
    scope: ScopeArguments,
    /// Print one JSON object.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Subcommand)]
enum CostCommand {
    Estimate(estimate::EstimateArguments),
}

/// What to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// One row per worker type: starting, running, idling.
    Worker,
    /// One row per function: the time its calls ran; and one for the rest.
    Function,
    /// One row per day, in UTC.
    Day,
}

impl CostArguments {
    /// Arguments before a subcommand would be lost. Clap would also reject `--json` there.
    fn check(&self) -> Result<(), Failure> {
        let Self { command, environment, since, by, scope, json: _ } = self;
        let is_given = environment.is_some()
            || since != USUAL_SINCE
            || *by != By::Worker
            || scope.app.is_some()
            || scope.target.is_some()
            || scope.directory.as_os_str() != ".";
        match command {
            Some(_) if is_given => Err(Failure::unusable(
                "arguments before `estimate` belong to `flash cost` without a subcommand",
            )
            .hint("put them after it: flash cost estimate --from production --since 7d")),
            _ => Ok(()),
        }
    }
}

/// Runs it.
pub(crate) fn run(arguments: CostArguments, output: &Output) -> Result<(), Failure> {
    arguments.check()?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("could not start the async runtime: {error}")))?;
    let json = arguments.json;
    runtime.block_on(async {
        match &arguments.command {
            Some(CostCommand::Estimate(estimate)) => estimate::run(estimate, json, output).await,
            None => spent::run(&arguments, output).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: CostArguments,
    }

    #[test]
    fn json_goes_with_a_subcommand_and_other_flags_do_not() {
        let parse = |words: &str| {
            let line = Line::try_parse_from(std::iter::once("cost").chain(words.split_whitespace()));
            line.map(|line| line.arguments).map_err(|error| error.to_string())
        };
        for words in [
            "--json estimate --seconds a=1",
            "estimate --json --seconds a=1",
            "production --json",
            "--by day",
        ] {
            parse(words).unwrap_or_else(|error| panic!("{words}: {error}")).check().unwrap();
        }
        for words in
            ["production estimate --seconds a=1", "--since 7d estimate --seconds a=1", "--by day estimate"]
        {
            assert!(parse(words).is_ok_and(|arguments| arguments.check().is_err()), "{words}");
        }
    }
}
