//! The arguments of `flash cost`, and which half they mean.
use clap::{Args, Subcommand};

use super::{
    estimate::{self, EstimateArguments},
    spent::{self, SpentArguments},
};
use crate::{
    commands::command::{Command, Context},
    exit::{Code, Failure},
    output::Format,
};

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
    #[command(flatten)]
    spent: SpentArguments,
    /// Print one JSON object.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum CostCommand {
    Estimate(EstimateArguments),
}

impl CostArguments {
    /// Arguments before a subcommand would be lost. Clap would also reject `--json` there.
    fn check(&self) -> Result<(), Failure> {
        match &self.command {
            Some(_) if self.spent.are_given() => Err(Failure::unusable(
                "arguments before `estimate` belong to `flash cost` without a subcommand",
            )
            .hint("put them after it: flash cost estimate --from production --since 7d")),
            _ => Ok(()),
        }
    }
}

impl Command for CostArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        self.check()?;
        let output = context.output();
        context.block_on(async {
            match &self.command {
                Some(CostCommand::Estimate(arguments)) => estimate::run(arguments, output).await,
                None => spent::run(&self.spent, output).await,
            }
        })?;
        Ok(Code::Success)
    }
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
