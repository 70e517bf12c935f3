//! `flash logs`: what workers and the platform said in an environment.
//!
//! Here are the arguments and the loop that prints; `question` makes the query of them, and refuses what
//! contradicts itself. Which lines fit is for the target to say.
mod question;

use std::{
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use clap::Args;
use futures_util::StreamExt as _;
use jiff::{Timestamp, tz::TimeZone};

use super::{
    place::{Place, PlaceArguments},
    time,
};
use crate::{
    exit::Failure,
    output::Output,
    target::{LogLevel, LogQuery, LogStream, Selected, Tail, local::nearest},
};

/// Between two looks whether the reader of our pipe is still there.
const READER_LOOK: Duration = Duration::from_millis(250);

/// Show what workers and the platform said in an environment.
///
/// The last 100 lines, or with --since, --request or --job all that fit. Times are 90s, 10m, 2h or 3d ago;
/// 2026-11-23T12:00:00Z; or 2026-11-23, 2026-11-23 12:00, 2026-11-23 12:00:00 by the clock of this machine.
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
    place: PlaceArguments,
    /// Lines of this worker type, or of the worker with this id.
    #[arg(long, value_name = "NAME")]
    worker: Option<String>,
    /// Lines of this request on all workers that it reached, in order; the first 8 characters of an id that
    /// Flash made are enough.
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Lines of this job.
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Lines of this release.
    #[arg(long, value_name = "N")]
    release: Option<NonZeroU64>,
    /// Go on with lines as they come, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// The last so many lines that fit; 0 with --follow: only what comes.
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<usize>,
    /// Nothing older.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Nothing at this time or later.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Lines whose text this regular expression is found in.
    #[arg(long, value_name = "RE")]
    search: Option<String>,
    /// This level or a higher one. Lines that say none count as info, those of stderr as warn.
    #[arg(long)]
    level: Option<LogLevel>,
    /// Where lines come from; system is the platform itself. May be given several times.
    #[arg(long)]
    stream: Vec<LogStream>,
    /// Say the time in front of each line.
    #[arg(long)]
    timestamps: bool,
    /// Print one JSON object a line, as the `log` events of `flash run --json`.
    #[arg(long)]
    pub json: bool,
}

/// How the printing came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All lines were given.
    Complete,
    /// Ctrl-C, or the reader has seen enough.
    Enough,
}

/// Shows the log.
pub(crate) fn run(arguments: LogsArguments, output: &Output) -> Result<(), Failure> {
    let query = question::query(&arguments, Timestamp::now(), &TimeZone::system())?;
    let runtime = tokio::runtime::Runtime::new()
        .map_err(|error| Failure::failed(format!("could not start the async runtime: {error}")))?;
    let printing = runtime.spawn(print(arguments, query, output.clone()));
    // Printing blocks while the reader of a pipe pauses: Ctrl-C and its going away are heard all the same.
    let end = runtime.block_on(async {
        tokio::select! {
            ended = printing => ended.unwrap_or_else(|error| Err(Failure::failed(format!("the printing broke: {error}")))),
            _ = tokio::signal::ctrl_c() => Ok(End::Enough),
            () = reader_gone(output) => Ok(End::Enough),
        }
    });
    runtime.shutdown_background();
    match end? {
        End::Enough => Ok(()),
        End::Complete => {
            output.finish().map_err(|error| Failure::failed(format!("the log cannot be written: {error}")))
        }
    }
}

async fn reader_gone(output: &Output) {
    while !output.is_reader_gone() {
        tokio::time::sleep(READER_LOOK).await;
    }
}

/// Whether there is, or ever was, what lines are asked for by name: none of a name that is misspelt would look like a
/// worker that says nothing.
async fn check_names(place: &Place, select: &Selected) -> Result<(), Failure> {
    let Place { id, target } = place;
    if let Some(number) = select.release {
        let releases = target.history(id).await?;
        if !releases.iter().any(|record| record.number == number) {
            let failure = Failure::unusable(format!("{id} has no release {number}"));
            return Err(match releases.as_slice() {
                [] => failure.hint(format!("nothing was sent yet: flash deploy send {}", id.name)),
                [latest, ..] => failure.hint(format!(
                    "the latest is {}; which there are: flash history {}",
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
    // Of a single worker, or of an earlier release.
    let select = Selected { worker: Some(name.clone()), ..Selected::default() };
    let one = LogQuery { select, tail: Tail::Last(NonZeroUsize::MIN), follow: false };
    if target.logs(id, &one).await?.next().await.transpose()?.is_some() {
        return Ok(());
    }
    let names: Vec<&str> = endpoints.iter().map(|own| own.worker.as_str()).collect();
    let near = nearest(name, names.iter().copied());
    let hint = match names.as_slice() {
        [] => format!("nothing is live: flash deploy send {}", id.name),
        names => format!("worker types: {}", names.join(", ")),
    };
    Err(Failure::unusable(format!("{id} has no worker type or worker `{name}`, and no line of one{near}"))
        .hint(hint))
}

async fn print(arguments: LogsArguments, query: LogQuery, output: Output) -> Result<End, Failure> {
    let place = arguments.place.environment(arguments.environment.as_deref()).await?;
    check_names(&place, &query.select).await?;
    let mut records = place.target.logs(&place.id, &query).await?;
    let zone = arguments.timestamps.then(TimeZone::system);
    let mut found = false;
    while let Some(record) = records.next().await {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                // What came before it is shown.
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
            "the background service has ended the log: it was stopped, or the \
                                    environment removed",
        )
        .hint("see whether it runs: flash service status"));
    }
    if !found {
        output.note("no lines fit");
    }
    Ok(End::Complete)
}
