//! `cargo xtask bench`: flash compared with hand-written services, in one run on one machine; also `cargo xtask
//! bench platform`, `cargo xtask bench peers` and `cargo xtask bench soak`, in their own folders, and `cargo xtask bench
//! build` (`images`).
//!
//! One file per question: the cost of a pipeline with four hops (`pipeline`), the cost of one job (`noop`), how
//! long the first job waits for its worker (`first_job`), and how bytes pass between workers (`pictures`). The sides are measured in turns, so that other load on
//! the machine affects both. Every answer is checked; a wrong one ends the benchmark.
mod compare;
mod cpu;
mod first_job;
mod images;
mod load;
mod noop;
mod peers;
mod pictures;
mod pipeline;
mod platform;
mod programs;
mod report;
mod server;
mod soak;

use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::{failure::Failure, output};
use compare::PlanArguments;
use programs::Artifact;
use report::Report;

/// Measure flash against hand-written services, and print a table with ratios.
///
/// Measures four things: a pipeline of three stages behind a route, against three axum services that call each
/// other; one `runsync` of a function that does nothing, against an axum handler that does nothing; the time
/// from no worker to the first finished job; and a picture of 8 MB through three workers, as bytes against base64. Everything is built with --release. Load generator, servers and
/// workers share this machine's cores: run nothing else, and compare only the ratios with another machine. If the first
/// and the last rounds of a side differ by more than 15 %, the machine was not steady, and its aims are not judged.
#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  cargo xtask bench\n  cargo xtask bench --seconds 3 --connections 16\n  \
                        cargo xtask bench --json > bench.json\n\n\
                        A run takes about 50 times the seconds, plus warm-ups."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    plan: PlanArguments,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// What to measure instead.
#[derive(Subcommand)]
enum Other {
    Platform(platform::Arguments),
    Build(images::Arguments),
    Soak(soak::Arguments),
    Peers(peers::Arguments),
}

/// Builds, measures, reports.
pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    // Without optimization, the load generator itself would be measured.
    if cfg!(debug_assertions) {
        return Err(programs::become_release_build());
    }
    match &arguments.other {
        Some(Other::Platform(arguments)) => return platform::run(arguments),
        Some(Other::Build(arguments)) => return images::run(arguments),
        Some(Other::Soak(arguments)) => return soak::run(arguments),
        Some(Other::Peers(arguments)) => return peers::run(arguments),
        None => {}
    }
    programs::build(&["flash-cli", "bench-handwritten", "bench-pipeline"])?;
    let report = block_on(measure(arguments))?;
    output::result(&if arguments.json { report.json()? } else { report.table() });
    Ok(())
}

/// Runs to the end or until a signal.
fn block_on<T>(measuring: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Runtime::new().map_err(Failure::at("could not start the async runtime"))?;
    runtime.block_on(async {
        tokio::select! {
            report = measuring => report,
            interrupted = interrupted() => Err(interrupted),
        }
    })
}

/// Everything that is started here is stopped when this future ends or is dropped.
async fn measure(arguments: &Arguments) -> Result<Report, Failure> {
    let plan = arguments.plan.plan();
    let app = programs::start_app("xtask/bench/pipeline", Artifact::Sources, &[], None).await?;
    let pipeline = pipeline::measure(&app, &plan).await?;
    let noop = noop::measure(&app, &plan).await?;
    let pictures = pictures::measure(&app, &plan).await?;
    let first_job = first_job::measure(&app).await?;
    Ok(Report::new(plan.time, pipeline, noop, pictures, first_job))
}

async fn interrupted() -> Failure {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers, signals end the process as usual.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Failure::new("interrupted")
}
