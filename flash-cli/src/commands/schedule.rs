//! `flash schedule`.
use clap::{Args, Subcommand};
use flash_target::{ScheduledFunction, ScheduledRun};
use serde_json::json;

use super::{
    command::{Command, Context},
    scope::{OneEnvironment, ScopeArguments},
    time::local_time,
};
use crate::{
    exit::{Code, Failure},
    output::{Format, Output},
};

const EXIT_CODES: &str = "Exit codes: 0 done; 1 failed; 2 wrong usage, nothing is live, or no such environment or \
                          scheduled function.";

/// List the scheduled functions of an environment, run them, pause them.
#[derive(Args)]
#[command(
    after_help = format!("Examples:\n  flash schedule list production\n  flash schedule run production nightly\n  \
                  flash schedule pause production nightly\n\n{EXIT_CODES}")
)]
pub(crate) struct ScheduleArguments {
    #[command(subcommand)]
    command: ScheduleCommand,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum ScheduleCommand {
    /// List scheduled functions: their next time, and their last run and how it ended.
    List(OneEnvironment),
    /// Run a function now, besides its times, also while it is paused or running.
    Run(OneFunction),
    /// Let the times of a function pass without a run, until it is resumed. They are not made up for.
    Pause(OneFunction),
    /// Run a paused function at its times again.
    Resume(OneFunction),
}

#[derive(Args)]
struct OneFunction {
    /// The environment [default: the only one of the app], and the function.
    #[arg(value_names = ["ENV", "NAME"], num_args = 1..=2, required = true)]
    names: Vec<String>,
    #[command(flatten)]
    scope: ScopeArguments,
}

impl OneFunction {
    fn meant(&self) -> Result<(Option<&str>, &str), Failure> {
        match self.names.as_slice() {
            [function] => Ok((None, function)),
            [name, function, ..] => Ok((Some(name), function)),
            [] => Err(Failure::unusable("no function given").hint("to list them: flash schedule list")),
        }
    }
}

impl Command for ScheduleArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let output = context.output();
        context.block_on(async {
            match self.command {
                ScheduleCommand::List(environment) => list(environment, output).await,
                ScheduleCommand::Run(function) => run(function, output).await,
                ScheduleCommand::Pause(function) => pause(function, true, output).await,
                ScheduleCommand::Resume(function) => pause(function, false, output).await,
            }
        })?;
        Ok(Code::Success)
    }
}

async fn list(environment: OneEnvironment, output: &Output) -> Result<(), Failure> {
    let scope = environment.scope.environment(environment.name.as_deref()).await?;
    let schedules = scope.target.schedules(&scope.id).await?;
    if output.is_json() {
        output.object(&json!({ "environment": scope.id, "schedules": schedules }));
        return Ok(());
    }
    if schedules.is_empty() {
        output.status("None", &format!("no function of {} has a schedule", scope.id));
        return Ok(());
    }
    let rows: Vec<Vec<String>> = schedules.iter().map(row).collect();
    output.table(&["function", "schedule", "next", "last run", "ended"], &rows);
    for ScheduledFunction { function, problem, .. } in &schedules {
        if let Some(problem) = problem {
            output.warning(&format!("{function}: {problem}"));
        }
    }
    Ok(())
}

fn row(scheduled: &ScheduledFunction) -> Vec<String> {
    let ScheduledFunction { function, schedule, next_ms, paused, last, .. } = scheduled;
    let next = match next_ms {
        _ if *paused => "paused".to_owned(),
        Some(next) => local_time(*next),
        None => "never".to_owned(),
    };
    let time = |run: &ScheduledRun| {
        let by_hand = if run.scheduled_ms.is_none() { " (by hand)" } else { "" };
        format!("{}{by_hand}", local_time(run.scheduled_ms.unwrap_or(run.started_ms)))
    };
    let end = |run: &ScheduledRun| match (run.running, run.ended) {
        (true, _) => format!("running, job {}", run.job),
        (false, Some(status)) => format!("{}, job {}", status.as_str(), run.job),
        (false, None) => format!("unknown, job {}", run.job),
    };
    vec![
        function.clone(),
        format!("{} {}", schedule.cron, schedule.timezone),
        next,
        last.as_ref().map_or_else(|| "-".to_owned(), time),
        last.as_ref().map_or_else(|| "-".to_owned(), end),
    ]
}

async fn run(arguments: OneFunction, output: &Output) -> Result<(), Failure> {
    let (name, function) = arguments.meant()?;
    let scope = arguments.scope.environment(name).await?;
    let job = scope.target.run_schedule(&scope.id, function).await?;
    match output.is_json() {
        true => output.object(&json!({ "environment": scope.id, "function": function, "job": job })),
        false => output.status("Started", &format!("{function} as job {job}")),
    }
    Ok(())
}

async fn pause(arguments: OneFunction, paused: bool, output: &Output) -> Result<(), Failure> {
    let (name, function) = arguments.meant()?;
    let scope = arguments.scope.environment(name).await?;
    scope.target.pause_schedule(&scope.id, function, paused).await?;
    if output.is_json() {
        output.object(&json!({ "environment": scope.id, "function": function, "paused": paused }));
        return Ok(());
    }
    match paused {
        true => output.status("Paused", &format!("{function} of {}: its times pass", scope.id)),
        false => output.status("Resumed", &format!("{function} of {}", scope.id)),
    }
    Ok(())
}
