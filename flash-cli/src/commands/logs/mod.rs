//! `flash logs`: the logs of an environment's workers and of the platform.
//!
//! This file holds the arguments and the loop that prints; `query` turns the arguments into a query and rejects
//! contradictions. The target decides which lines match.
mod query;

use std::{
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use clap::Args;
use flash_target::{LogLevel, LogQuery, LogStream, Selected, Tail};
use flash_text::nearest;
use futures_util::StreamExt as _;
use jiff::{Timestamp, tz::TimeZone};

use super::{
    scope::{Scope, ScopeArguments},
    time,
};
use crate::{exit::Failure, output::Output};

/// The interval of checks whether the reader of our pipe still exists.
const READER_LOOK: Duration = Duration::from_millis(250);

/// Show the logs of an environment's workers and of the platform.
///
/// Shows the last 100 lines, or with --since, --request or --job all that match. Times: 90s, 10m, 2h or 3d (ago);
/// 2026-11-23T12:00:00Z; or 2026-11-23, 2026-11-23 12:00, 2026-11-23 12:00:00 in this machine's time zone.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  flash logs production\n  flash logs production -f --worker inference_worker\n  \
                  flash logs production --since 10m --level warn\n  \
                  flash logs production --request 0190b6c0-d2f0-7c0a-8000-000000000000\n  \
                  flash logs production --since '2026-11-23 09:00' --until '2026-11-23 10:00' --search 'time(d )?out'\n  \
                  flash logs production --since 1h --json | jq -r .text"
)]
pub(crate) struct LogsArguments {
    /// The environment [default: the only one of the app].
    #[arg(value_name = "ENV")]
    environment: Option<String>,
    #[command(flatten)]
    scope: ScopeArguments,
    /// Only lines of this worker type, or of the worker with this ID.
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// Only lines of this request, from all workers that it reached, in order. The first 8 characters of an ID made
    /// by Flash are enough.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Only lines of this job.
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Only lines of this release.
    #[arg(long, value_name = "N")]
    release: Option<NonZeroU64>,
    /// Keep printing new lines until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Show only the last N matching lines; 0 with --follow: only new lines.
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// Only lines at or after this time.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only lines before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only lines whose text matches this regular expression.
    #[arg(long, value_name = "RE")]
    search: Option<String>,
    /// Only this level and higher. Lines without a level count as info, or as warn on stderr.
    #[arg(long)]
    level: Option<LogLevel>,
    /// Only lines from this source; system is the platform itself. May be given several times.
    #[arg(long)]
    stream: Vec<LogStream>,
    /// Print the time before each line.
    #[arg(long)]
    timestamps: bool,
    /// Print one JSON object per line, like the `log` events of `flash run --json`.
    #[arg(long)]
    pub json: bool,
}

/// Why the printing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All lines were printed.
    Complete,
    /// Ctrl-C, or the reader closed the pipe.
    Enough,
}

/// Prints the log.
pub(crate) fn run(arguments: LogsArguments, output: &Output) -> Result<(), Failure> {
    let query = query::query(&arguments, Timestamp::now(), &TimeZone::system())?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("could not start the async runtime: {error}")))?;
    let printing = runtime.spawn(print(arguments, query, output.clone()));
    // Printing blocks while the reader of a pipe pauses; Ctrl-C and a closed pipe must still be noticed.
    let end = runtime.block_on(async {
        tokio::select! {
            ended = printing => ended.unwrap_or_else(|error| Err(Failure::failed(format!("printing failed: {error}")))),
            _ = tokio::signal::ctrl_c() => Ok(End::Enough),
            () = reader_gone(output) => Ok(End::Enough),
        }
    });
    runtime.shutdown_background();
    match end? {
        End::Enough => Ok(()),
        End::Complete => {
            output.finish().map_err(|error| Failure::failed(format!("cannot write the log: {error}")))
        }
    }
}

async fn reader_gone(output: &Output) {
    while !output.is_reader_gone() {
        tokio::time::sleep(READER_LOOK).await;
    }
}

/// Whether the release and worker asked for exist, or ever existed. Without this check, no lines for a misspelled
/// name would look like a worker that logs nothing.
async fn check_names(scope: &Scope, select: &Selected) -> Result<(), Failure> {
    let Scope { id, target } = scope;
    if let Some(number) = select.release {
        let releases = target.history(id).await?;
        if !releases.iter().any(|record| record.number == number) {
            let failure = Failure::unusable(format!("{id} has no release {number}"));
            return Err(match releases.as_slice() {
                [] => failure.hint(format!("no releases yet; send one: flash deploy send {}", id.name)),
                [latest, ..] => failure.hint(format!(
                    "the latest is {}; to list them: flash history {}",
                    latest.number, id.name
                )),
            });
        }
    }
    let Some(name) = &select.worker else { return Ok(()) };
    let endpoints = target.environment(id).await?.endpoints;
    if endpoints.iter().any(|own| own.worker == *name) {
        return Ok(());
    }
    // It may be a single worker, or belong to an earlier release.
    let select = Selected { worker: Some(name.clone()), ..Selected::default() };
    let one = LogQuery { select, tail: Tail::Last(NonZeroUsize::MIN), follow: false };
    if target.logs(id, &one).await?.next().await.transpose()?.is_some() {
        return Ok(());
    }
    let names: Vec<&str> = endpoints.iter().map(|own| own.worker.as_str()).collect();
    let near = nearest(name, names.iter().copied());
    let hint = match names.as_slice() {
        [] => format!("nothing is live; send a release: flash deploy send {}", id.name),
        names => format!("worker types: {}", names.join(", ")),
    };
    Err(Failure::unusable(format!(
        "{id} has no worker type or worker `{name}`, and no log lines of one{near}"
    ))
    .hint(hint))
}

async fn print(arguments: LogsArguments, query: LogQuery, output: Output) -> Result<End, Failure> {
    let scope = arguments.scope.environment(arguments.environment.as_deref()).await?;
    check_names(&scope, &query.select).await?;
    let mut records = scope.target.logs(&scope.id, &query).await?;
    let zone = arguments.timestamps.then(TimeZone::system);
    let mut found = false;
    while let Some(record) = records.next().await {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                // Show the lines that came before the error.
                output.flush();
                return Err(error.into());
            }
        };
        found = true;
        let before = zone.as_ref().map_or(String::new(), |zone| time::shown(record.time_us, zone));
        output.record(&record, &before);
    }
    if query.follow {
        output.flush();
        return Err(Failure::failed(
            "the background service ended the log: it was stopped, or the \
                                    environment was removed",
        )
        .hint("check it: flash service status"));
    }
    if !found {
        output.note("no matching lines");
    }
    Ok(End::Complete)
}
