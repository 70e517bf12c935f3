//! The arguments of `flash logs`.
use std::num::NonZeroU64;

use clap::Args;
use flash_target::{LogLevel, LogStream};

use crate::commands::{choice::choice, running::RunningArguments, scope::ScopeArguments};

/// Show the logs of an environment's workers and of the platform, or of a running `flash run`.
///
/// Shows the last 100 lines, or with --since, --request or --job all that match. Times: 90s, 10m, 2h or 3d (ago);
/// 2026-11-23T12:00:00Z; or 2026-11-23, 2026-11-23 12:00, 2026-11-23 12:00:00 in this machine's time zone.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  flash logs production\n  flash logs production -f --worker inference_worker\n  \
                  flash logs production --since 10m --level warn\n  \
                  flash logs production --request 0190b6c0-d2f0-7c0a-8000-000000000000\n  \
                  flash logs production --since '2026-11-23 09:00' --until '2026-11-23 10:00' --search 'time(d )?out'\n  \
                  flash logs production --since 1h --json | jq -r .text\n  flash logs --local -f"
)]
pub(crate) struct LogsArguments {
    /// The environment [default: the only one of the app].
    #[arg(value_name = "ENV")]
    pub environment: Option<String>,
    #[command(flatten)]
    pub scope: ScopeArguments,
    #[command(flatten)]
    pub running: RunningArguments,
    /// Only lines of this worker type, or of the worker with this ID.
    #[arg(long, value_name = "NAME")]
    pub worker: Option<String>,
    /// Only lines of this request, from all workers that it reached, in order. The first 8 characters of an ID made
    /// by Flash are enough.
    #[arg(long, value_name = "ID")]
    pub request: Option<String>,
    /// Only lines of this job.
    #[arg(long, value_name = "ID")]
    pub job: Option<String>,
    /// Only lines of this release.
    #[arg(long, value_name = "N")]
    pub release: Option<NonZeroU64>,
    /// Keep printing new lines until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Show only the last N matching lines; 0 with --follow: only new lines.
    #[arg(long, short = 'n', value_name = "N")]
    pub lines: Option<usize>,
    /// Only lines at or after this time.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only lines before this time.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Only lines whose text matches this regular expression.
    #[arg(long, value_name = "RE")]
    pub search: Option<String>,
    /// Only this level and higher. Lines without a level count as info, or as warn on stderr.
    #[arg(long, value_parser = choice::<LogLevel>())]
    pub level: Option<LogLevel>,
    /// Only lines from this source; system is the platform itself. May be given several times.
    #[arg(long, value_parser = choice::<LogStream>())]
    pub stream: Vec<LogStream>,
    /// Print the time before each line.
    #[arg(long)]
    pub timestamps: bool,
    /// Print one JSON object per line, like the `log` events of `flash run --json`.
    #[arg(long)]
    pub json: bool,
}
