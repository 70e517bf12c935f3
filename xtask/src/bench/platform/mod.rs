//! `cargo xtask bench platform`: the cost of the platform itself, compared with its aims.
//!
//! Every number is measured from outside: over HTTP, like a client, and from `/proc`. One file per question: short
//! jobs (`jobs`), a million waiting jobs (`million`), waiting connections (`held`), the official worker compared
//! with ours (`official`).
mod app;
mod held;
mod jobs;
mod machine;
mod million;
mod official;
mod report;

use std::{num::NonZeroU64, time::Duration};

use clap::Args;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::{block_on, programs};
use crate::{failure::Failure, output, prepare, steps::Steps};
use app::{Platform, forget_jobs};
use jobs::{CONNECTIONS, Load};
use machine::Machine;
pub(super) use machine::resident_mb;
use report::Report;

/// Measure the platform: jobs per second, latency, memory, restart, and the official Python worker for comparison.
///
/// Runs functions that return their small input, in one worker process. The load generator, the platform and the
/// worker share this machine's cores, so run nothing else. Each number is compared with its aim on two cores.
#[derive(Args)]
#[command(after_help = "Examples:\n  cargo xtask bench platform\n  \
                        cargo xtask bench platform --seconds 2 --jobs 100000 --without-python\n  \
                        cargo xtask bench platform --json > platform.json\n\n\
                        A run takes about 40 times the seconds, 3 more for each measurement, plus the time to fill the \
                        queue: 8 minutes by default.")]
pub(crate) struct Arguments {
    /// Seconds of one measurement, after 2 seconds of warm-up.
    #[arg(long, default_value = "5")]
    seconds: NonZeroU64,
    /// Jobs in the long queue, at least 1000.
    #[arg(long, default_value = "1000000", value_parser = clap::value_parser!(u64).range(1000..))]
    jobs: u64,
    /// Skip the official Python worker, which needs the network once.
    #[arg(long)]
    without_python: bool,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// Builds, measures, reports.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    programs::build(&["flash-cli", "bench-platform"])?;
    if !arguments.without_python {
        prepare::python(&mut Steps::start())?;
    }
    raise_open_files();
    let machine = Machine::look();
    let report = block_on(measure(arguments, machine))?;
    output::result(&if arguments.json { report.json()? } else { report.table() });
    Ok(())
}

/// Raises the descriptor limit as far as allowed: thousands of connections are held here and, by inheritance,
/// there.
pub(super) fn raise_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it cannot be raised, the connections fail with their own message.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Each platform is stopped before the next one starts; dropping this future stops the running one.
async fn measure(arguments: &Arguments, machine: Machine) -> Result<Report, Failure> {
    let time = Duration::from_secs(arguments.seconds.get());
    let mut rows = Vec::new();

    let platform = Platform::start(&[]).await?;
    let idle_mb = platform.resident_mb()?;
    rows.extend(jobs::measure(&platform, "runsync", Load::RunSync, &CONNECTIONS, time).await?);
    rows.extend(jobs::measure(&platform, "run+status", Load::RunAndAwait, &CONNECTIONS, time).await?);
    let official = match arguments.without_python {
        true => Vec::new(),
        false => official::measure(&platform, time).await?,
    };
    drop(platform);

    // On a fresh platform: memory freed by other measurements would be reused before it grows.
    let platform = Platform::start(&[]).await?;
    let held = held::measure(&platform).await?;
    drop(platform);

    forget_jobs()?;
    let platform = Platform::start(&["--keep"]).await?;
    rows.extend(jobs::measure(&platform, "run+status, kept", Load::RunAndAwait, &CONNECTIONS, time).await?);
    rows.extend(jobs::measure(&platform, "run, kept", Load::Enqueue, &[1, 64], time).await?);
    drop(platform);

    forget_jobs()?;
    let platform = Platform::start(&["--keep=power-loss"]).await?;
    rows.extend(jobs::measure(&platform, "run, kept on disk", Load::Enqueue, &[1, 64], time).await?);
    drop(platform);

    let million = million::measure(arguments.jobs).await?;
    Ok(Report::new(machine, time, idle_mb, rows, official, held, million))
}
