//! The developer tasks of this workspace: `cargo xtask test`, `lint`, `fuzz`, `bench`, `cuda-build`,
//! `gpu-check`, `models`, `site`, `dist`, `cluster`.
//!
//! One file per task. Each is a list of commands that you could also type; a task prints every command it runs and
//! stops at the first that fails.
mod bench;
mod cluster;
mod command;
mod cuda_build;
mod dist;
mod failure;
mod fuzz;
mod gpu_check;
mod lint;
mod metadata;
mod models;
mod output;
mod packages;
mod prepare;
mod references;
mod site;
mod slow;
mod slowest;
mod steps;
mod test;
mod walls;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Developer tasks of the Flash workspace.
///
/// Run it from anywhere inside the workspace. Commands are printed as they run; their output passes through. Exit
/// code: 0 for success, 1 at the first failure, 2 for wrong usage.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    after_help = "Examples:\n  cargo xtask test            everything that must pass, even on a fresh machine\n  \
                  cargo xtask lint            the quick checks: format, references, clippy, docs\n  \
                  cargo xtask fuzz            search for breaking inputs, one minute per target\n  \
                  cargo xtask bench --json    flash compared with hand-written services\n  \
                  cargo xtask bench platform  the platform itself, compared with its aims\n  \
                  cargo xtask bench peers     the pipeline on flash and on frameworks in Python\n  \
                  cargo xtask bench soak      an app under load for a long time: does anything grow?\n  \
                  cargo xtask cuda-build      the example with CUDA; needs no GPU\n  \
                  cargo xtask gpu-check       models on a GPU; --cpu tries the checks without one\n  \
                  cargo xtask models          the weights that tests and an example use\n  \
                  cargo xtask site            the documentation as a site\n  \
                  cargo xtask dist            the archives of a release, which install.sh downloads\n  \
                  cargo xtask cluster up      a Kubernetes cluster of one node, for tests"
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Test(test::Arguments),
    Lint(lint::Arguments),
    Fuzz(fuzz::Arguments),
    Bench(bench::Arguments),
    CudaBuild(cuda_build::Arguments),
    GpuCheck(gpu_check::Arguments),
    Models(models::Arguments),
    Site(site::Arguments),
    Dist(dist::Arguments),
    Cluster(cluster::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments),
        Task::Lint(arguments) => lint::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::CudaBuild(arguments) => cuda_build::run(&arguments),
        Task::GpuCheck(arguments) => gpu_check::run(&arguments),
        Task::Models(arguments) => models::run(&arguments),
        Task::Site(arguments) => site::run(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::Cluster(arguments) => cluster::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&failure);
            ExitCode::FAILURE
        }
    }
}
