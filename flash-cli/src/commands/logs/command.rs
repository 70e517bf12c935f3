//! Prints the log, until its end, Ctrl-C or the end of its reader.
use std::num::NonZeroUsize;

use flash_target::{LogQuery, Selected, Tail};
use flash_text::nearest;
use futures_util::{StreamExt as _, TryStreamExt as _};
use jiff::{Timestamp, tz::TimeZone};

use super::{arguments::LogsArguments, query::query};
use crate::{
    commands::{
        command::{Command, Context, Unread},
        running::RunningApp,
        scope::Scope,
        time,
    },
    exit::{Code, Failure},
    output::{Format, Output},
};

/// Why the printing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All lines were printed.
    Complete,
    /// Ctrl-C, or the reader closed the pipe.
    Enough,
}

impl Command for LogsArguments {
    /// The command itself checks whether its reader still waits for the rest.
    const UNREAD: Unread = Unread::Leave;

    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let output = context.output();
        let query = query(&self, Timestamp::now(), &TimeZone::system())?;
        let runtime = context.runtime()?;
        let printing = runtime.spawn(print(self, query, output.clone()));
        // Printing blocks while the reader of a pipe pauses; Ctrl-C and a closed pipe must still be noticed.
        let end = runtime.block_on(async {
            tokio::select! {
                ended = printing => ended.unwrap_or_else(|error| Err(Failure::failed(format!("printing failed: {error}")))),
                _ = tokio::signal::ctrl_c() => Ok(End::Enough),
                () = output.reader_gone() => Ok(End::Enough),
            }
        });
        runtime.shutdown_background();
        if end? == End::Complete {
            output.finish().map_err(|error| Failure::failed(format!("cannot write the log: {error}")))?;
        }
        Ok(Code::Success)
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

/// Checks the worker type in the manifest of a running `flash run`. Any other name may be a worker's ID.
async fn check_worker(app: &RunningApp, select: &Selected) -> Result<(), Failure> {
    let Some(name) = &select.worker else { return Ok(()) };
    let manifest = app.manifest().await?;
    let names: Vec<&str> = manifest.workers.iter().map(|worker| worker.name.as_str()).collect();
    if names.contains(&name.as_str()) || name.contains('-') {
        return Ok(());
    }
    let near = nearest(name, names.iter().copied());
    Err(Failure::unusable(format!("{} has no worker type `{name}`{near}", app.url))
        .hint(format!("worker types: {}", names.join(", "))))
}

async fn print(arguments: LogsArguments, query: LogQuery, output: Output) -> Result<End, Failure> {
    let environment = arguments.environment.as_deref();
    let running = RunningApp::find(&arguments.running, &arguments.scope, environment)?;
    let mut asked = None;
    let (mut records, ended) = match running {
        Some(app) => {
            check_worker(&app, &query.select).await?;
            let ended = Failure::failed(format!("{} ended the log: `flash run` was stopped", app.url));
            (app.logs(&query).await?, ended.hint("start it again: flash run"))
        }
        None => {
            let found = arguments.scope.environment(environment).await;
            let scope = found.map_err(|failure| RunningApp::suggested(failure, &arguments.scope))?;
            check_names(&scope, &query.select).await?;
            let message =
                "the background service ended the log: it was stopped, or the environment was removed";
            let ended = Failure::failed(message).hint("check it: flash service status");
            let records = scope.target.logs(&scope.id, &query).await?.map_err(Failure::from).boxed();
            asked = Some(scope);
            (records, ended)
        }
    };
    let zone = arguments.timestamps.then(TimeZone::system);
    let mut found = false;
    while let Some(record) = records.next().await {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                // Show the lines that came before the error.
                output.flush();
                return Err(error);
            }
        };
        found = true;
        let time = zone.as_ref().map(|zone| time::shown(record.time_us, zone));
        output.record(&record, time.as_deref());
    }
    if query.follow {
        output.flush();
        return Err(ended);
    }
    if !found {
        output.note(&match asked {
            Some(Scope { id, target }) if target.environment(&id).await?.live.is_none() => {
                format!("no matching lines: nothing is live; send a release: flash deploy send {}", id.name)
            }
            _ => "no matching lines".to_owned(),
        });
    }
    Ok(End::Complete)
}
