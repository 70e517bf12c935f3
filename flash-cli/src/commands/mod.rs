//! The commands, a file each, and the command line that chooses one.
mod agree;
mod build;
mod call;
mod catalog;
mod cost;
mod deploy;
mod doctor;
mod key;
mod login;
mod logs;
mod place;
mod run;
mod secret;
mod service;
mod status;
mod time;
mod undeploy;

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
                  2 wrong usage, no crate, a broken flash.toml, a missing confirmation; flash deploy --plan: changes."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::RunArguments),
    Build(build::BuildArguments),
    Deploy(deploy::DeployArguments),
    #[command(visible_alias = "environment")]
    Env(deploy::EnvironmentArguments),
    /// Go back to what an earlier release was: the same as `flash deploy rollback`.
    Rollback(deploy::Alone<deploy::RollbackArguments>),
    /// List the releases of an environment: the same as `flash deploy history`.
    History(deploy::Alone<deploy::HistoryArguments>),
    /// Remove an environment and everything kept of it: the same as `flash deploy remove`.
    Remove(deploy::Alone<deploy::RemoveArguments>),
    Undeploy(undeploy::UndeployArguments),
    Status(status::StatusArguments),
    Logs(logs::LogsArguments),
    Call(call::CallArguments),
    Cost(cost::CostArguments),
    Key(key::KeyArguments),
    Secret(secret::SecretArguments),
    Login(login::LoginArguments),
    Logout(login::LogoutArguments),
    Catalog(catalog::CatalogArguments),
    Service(service::ServiceArguments),
    Doctor(doctor::DoctorArguments),
}

/// Parses the command line and runs the command.
pub(crate) fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    // What a command that did what it should tells by its exit code.
    let mut code = ExitCode::SUCCESS;
    let (output, outcome) = match command {
        Command::Run(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), run::run(arguments, &output))
        }
        Command::Build(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(build::run(arguments, &output), &output))
        }
        Command::Deploy(arguments) => {
            let output = Output::new(arguments.json);
            let outcome = deploy::run(arguments, &output).map(|ending| code = ending.into());
            (output.clone(), finished(outcome, &output))
        }
        Command::Env(arguments) => {
            let output = Output::new(arguments.json);
            let outcome = deploy::run_environment(arguments, &output).map(|ending| code = ending.into());
            (output.clone(), finished(outcome, &output))
        }
        Command::Rollback(arguments) => {
            let output = Output::new(arguments.json);
            let outcome = deploy::run_rollback(arguments, &output).map(|ending| code = ending.into());
            (output.clone(), finished(outcome, &output))
        }
        Command::History(arguments) => {
            let output = Output::new(arguments.json);
            let outcome = deploy::run_history(arguments, &output).map(|ending| code = ending.into());
            (output.clone(), finished(outcome, &output))
        }
        Command::Remove(arguments) => {
            let output = Output::new(arguments.json);
            let outcome = deploy::run_remove(arguments, &output).map(|ending| code = ending.into());
            (output.clone(), finished(outcome, &output))
        }
        Command::Undeploy(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(undeploy::run(arguments, &output), &output))
        }
        Command::Status(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(status::run(arguments, &output), &output))
        }
        Command::Logs(arguments) => {
            let output = Output::new(arguments.json);
            // It knows itself whether its reader still waits for the rest.
            (output.clone(), logs::run(arguments, &output))
        }
        Command::Call(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(call::run(arguments, &output), &output))
        }
        Command::Service(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(service::run(arguments, &output), &output))
        }
        Command::Cost(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(cost::run(arguments, &output), &output))
        }
        Command::Key(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(key::run(arguments, &output), &output))
        }
        Command::Secret(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(secret::run(arguments, &output), &output))
        }
        Command::Login(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(login::run(&arguments, &output), &output))
        }
        Command::Logout(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(login::run_logout(&arguments, &output), &output))
        }
        Command::Catalog(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(catalog::run(&arguments, &output), &output))
        }
        Command::Doctor(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), finished(doctor::run(arguments, &output), &output))
        }
    };
    output.flush();
    match outcome {
        Ok(()) => code,
        Err(failure) => {
            output.error(&failure);
            output.flush();
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn no_two_flags_of_a_command_are_in_each_others_way() {
        Arguments::command().debug_assert();
    }
}
