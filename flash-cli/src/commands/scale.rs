//! `flash scale`.
use std::time::Duration;

use clap::Args;
use flash_target::{ManualScale, ScaleChange};
use serde_json::json;

use super::{
    command::{Command, Context},
    scope::ScopeArguments,
    time::{local_time, parse_duration},
};
use crate::{
    exit::{Code, Failure},
    output::{Format, Output},
};

/// The longest time of `--for`.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Change how many workers of a type run, at once and without a release.
///
/// The limits last until the next release, which shows in its plan that it takes them back, or until --for is over.
/// Workers above a new maximum finish their work, and stop when they have been idle for their idle timeout.
#[derive(Args)]
#[command(after_help = "Examples:\n  flash scale production inference_worker --min 1 --max 5\n  \
                  flash scale production inference_worker --max 20 --for 2h\n  \
                  flash scale production inference_worker --reset\n\n\
                  Exit codes: 0 done; 1 failed; 2 wrong usage, or no such environment or worker type.")]
pub(crate) struct ScaleArguments {
    /// The environment [default: the only one of the app], and the worker type.
    #[arg(value_names = ["ENV", "WORKER"], num_args = 1..=2, required = true)]
    names: Vec<String>,
    /// Workers that run even without work.
    #[arg(long, value_name = "N", required_unless_present_any = ["max", "reset"])]
    min: Option<u32>,
    /// Most workers at a time, 1 to 1000.
    #[arg(long, value_name = "N")]
    max: Option<u32>,
    /// Go back to the limits of the release after this time, such as 30m or 2h.
    #[arg(long = "for", value_name = "TIME")]
    time: Option<String>,
    /// Go back to the limits of the release now.
    #[arg(long, conflicts_with_all = ["min", "max", "time"])]
    reset: bool,
    #[command(flatten)]
    scope: ScopeArguments,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Command for ScaleArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        context.block_on(scale(self, context.output()))?;
        Ok(Code::Success)
    }
}

async fn scale(arguments: ScaleArguments, output: &Output) -> Result<(), Failure> {
    let ScaleArguments { names, min, max, time, reset, scope, .. } = arguments;
    let (name, worker) = match names.as_slice() {
        [worker] => (None, worker),
        [name, worker, ..] => (Some(name.as_str()), worker),
        [] => return Err(Failure::unusable("no worker type given").hint("to list them: flash status")),
    };
    let time = time.as_deref().map(|text| parse_duration("--for", text, LONGEST)).transpose()?;
    let change = match reset {
        true => ScaleChange::Release,
        false => ScaleChange::Limits { min, max, for_seconds: time.map(|time| time.as_secs()) },
    };
    let scope = scope.environment(name).await?;
    let scaled = scope.target.scale(&scope.id, worker, change).await?;
    if output.is_json() {
        output.object(&json!({ "environment": scope.id, "scale": scaled, "reset": reset }));
        return Ok(());
    }
    let until = match (reset, scaled.until_ms) {
        (true, _) => ", as its release says".to_owned(),
        (false, Some(until)) => format!(" until {}", local_time(until)),
        (false, None) => " until the next release".to_owned(),
    };
    output.status("Scaled", &format!("{worker} of {} to {}{until}", scope.id, range(&scaled)));
    Ok(())
}

fn range(scale: &ManualScale) -> String {
    format!("{}..={} workers", scale.workers_min, scale.workers_max)
}

/// What a person has set beside the release, one line each.
pub(super) fn lines(scales: &[ManualScale]) -> Vec<String> {
    let line = |scale: &ManualScale| {
        let since = match scale.set_ms {
            0 => String::new(),
            since => format!(" since {}", local_time(since)),
        };
        let until = scale.until_ms.map_or(String::new(), |until| format!(" until {}", local_time(until)));
        format!("{} is scaled by hand to {}{since}{until}", scale.worker, range(scale))
    };
    scales.iter().map(line).collect()
}
