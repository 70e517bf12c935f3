//! `cargo xtask bench platform`: what the platform itself costs, beside its aims.
//!
//! Every number comes from outside: over HTTP, as a client has it, and from `/proc`. The files are the
//! questions: jobs that end at once (`jobs`), a million that wait (`million`), connections that wait
//! (`held`), the official worker beside ours (`official`).
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
use report::Report;

/// Measure the platform: jobs per second, latency, memory, restart, beside the official Python worker.
///
/// Functions that return their small input, on one worker process; the load generator, the platform and
/// the worker share this machine's cores, so that nothing else should run. Each number stands beside what
/// is aimed at on two cores.
#[derive(Args)]
#[command(after_help = "Examples:\n  cargo xtask bench platform\n  \
                        cargo xtask bench platform --seconds 2 --jobs 100000 --without-python\n  \
                        cargo xtask bench platform --json > platform.json\n\n\
                        A run takes about 40 times the seconds, 3 more for each measurement, and the queue's \
                        filling: 8 minutes by default.")]
pub(crate) struct Arguments {
    /// Seconds of one measurement, after 2 seconds of warm-up.
    #[arg(long, default_value = "5")]
    seconds: NonZeroU64,
    /// Jobs that wait in the long queue, 1000 at least.
    #[arg(long, default_value = "1000000", value_parser = clap::value_parser!(u64).range(1000..))]
    jobs: u64,
    /// Leave the official Python worker out, which needs the network once.
    #[arg(long)]
    without_python: bool,
    /// Print one JSON object in place of the table.
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

/// As many descriptors as are allowed: thousands of connections are held here and, by inheritance, there.
fn raise_open_files() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // Where it cannot be raised, the connections fail with a message of their own.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Each platform is stopped before the next starts; when this future is dropped, so is the one that runs.
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

    // On a platform that has done nothing yet: what others left free would be taken before memory grows.
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
