//! The commands, a file each, and the command line that chooses one.
mod build;
mod doctor;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{exit::Failure, output::Output};

/// Serverless workers in Rust: run them on this machine, as they run in production.
#[derive(Parser)]
#[command(
    name = "flash",
    version,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 success; 1 it was tried and failed (build, app, port); \
                  2 wrong usage, no crate, or a broken flash.toml."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::RunArguments),
    Build(build::BuildArguments),
    Doctor(doctor::DoctorArguments),
}

/// Parses the command line and runs the command.
pub(crate) fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let (output, outcome) = match command {
        Command::Run(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), run::run(arguments, &output))
        }
        Command::Build(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(build::run(arguments, &output), &output))
        }
        Command::Doctor(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(doctor::run(arguments, &output), &output))
        }
    };
    output.flush();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.error(&failure);
            failure.code.into()
        }
    }
}

/// For a command whose result is what it prints: it is done when that is written.
fn finished(outcome: Result<(), Failure>, output: &Output) -> Result<(), Failure> {
    let written = output.finish();
    outcome?;
    written.map_err(|error| Failure::failed(format!("the result cannot be written: {error}")))
}
