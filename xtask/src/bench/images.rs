//! `cargo xtask bench build`: the overhead of `flash build` over cargo, the time of a push without changes, the
//! size of images, and how long the first job waits for a container.
//!
//! Uses a real registry and podman on this machine.
use clap::Args;
use flash_test_support::docker_registry::DockerRegistry;
use serde::Serialize;
use serde_json::Value;

use super::{
    block_on,
    compare::median_of,
    first_job::{self, FirstJob},
    programs::{self, Artifact},
    report::{Aim, aims_table},
};
use crate::{
    command::{command, read},
    failure::Failure,
    output, prepare,
    steps::Steps,
    workspace,
};

/// The app that is built.
const APP: &str = "xtask/bench/pipeline";
const ROUNDS: usize = 5;

/// Measure `flash build`: overhead over cargo, push of unchanged images, sizes, cold start of a container.
///
/// Builds the benchmark's app in release mode, rebuilds its images five times, pushes them to a registry on this
/// machine, pushes again without changes, and runs them with podman from no worker to the first finished job.
#[derive(Args)]
#[command(after_help = "Examples:\n  cargo xtask bench build\n  cargo xtask bench build --json > build.json")]
pub(crate) struct Arguments {
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

/// All measurements.
#[derive(Serialize)]
struct Report {
    images: usize,
    /// Medians of building all images from scratch.
    assemble_seconds: f64,
    verify_seconds: f64,
    first_push_seconds: f64,
    unchanged_push_seconds: f64,
    compressed_mb: f64,
    unpacked_mb: f64,
    first_job: FirstJob,
    aims: Vec<Aim>,
}

/// Builds, measures, reports.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    prepare::containers(&mut Steps::start())?;
    programs::build(&["flash-cli"])?;
    let report = measure()?;
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).map_err(Failure::at("the report has no JSON form"))?
    } else {
        report.table()
    };
    output::result(&text);
    Ok(())
}

fn measure() -> Result<Report, Failure> {
    // Cargo's part, which is not counted.
    flash_build(&[])?;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let made = workspace::root().join(APP).join(".flash/build");
        std::fs::remove_dir_all(&made).map_err(Failure::at("the images of the last round"))?;
        rounds.push(flash_build(&[])?);
    }
    let registry = DockerRegistry::start();
    output::say("Started", &format!("docker-registry at {}", registry.address));
    let repository = format!("{}/bench/app", registry.address);
    let push = ["--push", &repository, "--tag", "bench"];
    let first = flash_build(&push)?;
    let again = (0..ROUNDS).map(|_| flash_build(&push)).collect::<Result<Vec<_>, _>>()?;
    drop(registry);
    let median = |rounds: &[Value], step: &str| {
        median_of(rounds.iter().filter_map(|built| built["seconds"][step].as_f64()).collect())
    };
    let largest = |size: &str| {
        let images = first["images"].as_array().into_iter().flatten();
        images.filter_map(|image| image[size].as_f64()).fold(0.0, f64::max) / 1e6
    };
    let first_job = block_on(async {
        let app = programs::start_app(APP, Artifact::Images, &[], None).await?;
        first_job::measure(&app).await
    })?;
    let mut report = Report {
        images: first["images"].as_array().map_or(0, Vec::len),
        assemble_seconds: median(&rounds, "assemble"),
        verify_seconds: median(&rounds, "verify"),
        first_push_seconds: median(std::slice::from_ref(&first), "push"),
        unchanged_push_seconds: median(&again, "push"),
        compressed_mb: largest("compressed"),
        unpacked_mb: largest("unpacked"),
        first_job,
        aims: Vec::new(),
    };
    report.aims = report.aims();
    Ok(report)
}

impl Report {
    fn aims(&self) -> Vec<Aim> {
        vec![
            Aim::below(
                "assemble and verify after cargo, s",
                self.assemble_seconds + self.verify_seconds,
                0.5,
            ),
            Aim::below("push of unchanged images, s", self.unchanged_push_seconds, 0.3),
            Aim::below("image of a CPU worker type, MB compressed", self.compressed_mb, 15.0),
        ]
    }

    fn table(&self) -> String {
        let Self { images, compressed_mb, unpacked_mb, first_push_seconds, first_job, .. } = self;
        format!(
            "{images} images of one app, medians of {ROUNDS} builds with everything made anew.\n\
             Largest image: {compressed_mb:.1} MB compressed, {unpacked_mb:.1} MB unpacked. First push: \
             {first_push_seconds:.2} s.\n\
             First job from no container: median {:.0} ms of {} ({:.0} to {:.0}).\n\n{}",
            first_job.median_ms,
            first_job.tries,
            first_job.least_ms,
            first_job.most_ms,
            aims_table(&self.aims)
        )
    }
}

/// Builds the app's images; returns the output.
fn flash_build(options: &[&str]) -> Result<Value, Failure> {
    let flash = programs::release("flash");
    let mut build = command(&flash.to_string_lossy(), &["build", APP, "--json"]);
    build.args(options);
    serde_json::from_str(&read(&mut build)?).map_err(Failure::at("the output of flash build"))
}
