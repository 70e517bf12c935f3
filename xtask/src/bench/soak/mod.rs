//! `cargo xtask bench soak`: an app under mixed load for a long time, while its code changes and its workers are killed.
//!
//! It answers whether anything grows or is lost: the platform's memory, its open files, the time of slow answers, and
//! requests. One file each: the app (`app`), the load on it (`traffic`), and what was seen (`report`).
mod app;
mod report;
mod traffic;

use std::{num::NonZeroU32, time::Duration};

use clap::Args;

use super::{block_on, platform::raise_open_files, programs};
use crate::{failure::Failure, output};
use app::App;
use report::{Report, Window};
use traffic::Traffic;

/// In how many equal parts the time is divided. In the middle of each, the code changes or a worker is killed.
const WINDOWS: u32 = 12;

/// Run an app under mixed load for a long time, with hot reloads and killed workers, and see whether anything grows.
///
/// The app is the template `hello`: calls of its route, jobs with and without waiting, each over a connection of its own.
/// In one part of the time its code changes, in the next one a worker is killed. Exit code 1 if the platform's memory or
/// its open files grew, slow answers became slower, or more requests failed, or had a wrong answer, than kills explain.
#[derive(Args)]
#[command(after_help = "Examples:\n  cargo xtask bench soak\n  cargo xtask bench soak --minutes 5 --json")]
pub(crate) struct Arguments {
    /// Minutes of load. The first quarter is the warm-up.
    #[arg(long, default_value = "30")]
    minutes: NonZeroU32,
    /// Requests under way at a time.
    #[arg(long, default_value = "8", value_parser = clap::value_parser!(u32).range(1..=1024))]
    connections: u32,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// Builds, runs, reports.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    programs::build(&["flash-cli"])?;
    raise_open_files();
    let report = block_on(soak(arguments))?;
    output::result(&if arguments.json { report.json()? } else { report.table() });
    match report.faults.as_slice() {
        [] => Ok(()),
        faults => Err(Failure::new(faults.join("; "))),
    }
}

async fn soak(arguments: &Arguments) -> Result<Report, Failure> {
    let mut app = App::start().await?;
    let window = Duration::from_secs(60) * arguments.minutes.get() / WINDOWS;
    // Once, so that everything that is opened for the first request is open.
    traffic::ask_everything(&app).await?;
    app.rest().await?;
    let files_before = app.open_files()?;
    let traffic = Traffic::start(&app, arguments.connections);
    let mut windows = Vec::new();
    let mut kills = 0;
    for number in 0..WINDOWS {
        tokio::time::sleep(window / 2).await;
        if number % 2 == 0 {
            app.change_code().await?;
        } else {
            kills += app.kill_a_worker(number / 2)?;
        }
        tokio::time::sleep(window / 2).await;
        let seen = Window::new(traffic.take(), app.resident_mb()?)?;
        output::say("Seen", &format!("{} of {WINDOWS}: {seen}", number + 1));
        windows.push(seen);
    }
    let last = traffic.stop().await;
    app.rest().await?;
    let files = (files_before, app.open_files()?);
    Ok(Report::new(windows, files, kills, arguments.connections, last))
}
