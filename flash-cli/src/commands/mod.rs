//! The commands, one file each, and the command line that selects one.
mod build;
mod call;
mod catalog;
mod changes;
mod confirm;
mod cost;
mod deploy;
mod doctor;
mod endpoint_table;
mod key;
mod login;
mod logs;
mod run;
mod scope;
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
    after_help = "Exit codes: 0 success; 1 failed (build, app, port); \
                  2 wrong usage, no crate, an invalid flash.toml, a missing confirmation; flash deploy --plan: changes."
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
    /// Go back to an earlier release: the same as `flash deploy rollback`.
    Rollback(deploy::Alone<deploy::RollbackArguments>),
    /// List the releases of an environment: the same as `flash deploy history`.
    History(deploy::Alone<deploy::HistoryArguments>),
    /// Remove an environment and everything stored for it: the same as `flash deploy remove`.
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
    // The exit code of a command that succeeded.
    let mut code = ExitCode::SUCCESS;
    let mut ended = |ending: deploy::Ending| code = ending.into();
    let (output, outcome) = match command {
        Command::Run(arguments) => {
            let output = Output::new(arguments.json);
            (output.clone(), run::run(arguments, &output))
        }
        Command::Logs(arguments) => {
            let output = Output::new(arguments.json);
            // It checks by itself whether its reader still waits for the rest.
            (output.clone(), logs::run(arguments, &output))
        }
        Command::Build(own) => printing(own.json, |output| build::run(own, output)),
        Command::Deploy(own) => printing(own.json, |output| deploy::run(own, output).map(&mut ended)),
        Command::Env(own) => {
            printing(own.json, |output| deploy::run_environment(own, output).map(&mut ended))
        }
        Command::Rollback(own) => {
            printing(own.json, |output| deploy::run_rollback(own, output).map(&mut ended))
        }
        Command::History(own) => {
            printing(own.json, |output| deploy::run_history(own, output).map(&mut ended))
        }
        Command::Remove(own) => printing(own.json, |output| deploy::run_remove(own, output).map(&mut ended)),
        Command::Undeploy(own) => printing(own.json, |output| undeploy::run(own, output)),
        Command::Status(own) => printing(own.json, |output| status::run(own, output)),
        Command::Call(own) => printing(own.json, |output| call::run(own, output)),
        Command::Service(own) => printing(own.json, |output| service::run(own, output)),
        Command::Cost(own) => printing(own.json, |output| cost::run(own, output)),
        Command::Key(own) => printing(own.json, |output| key::run(own, output)),
        Command::Secret(own) => printing(own.json, |output| secret::run(own, output)),
        Command::Login(own) => printing(own.json, |output| login::run(&own, output)),
        Command::Logout(own) => printing(own.json, |output| login::run_logout(&own, output)),
        Command::Catalog(own) => printing(own.json, |output| catalog::run(&own, output)),
        Command::Doctor(own) => printing(own.json, |output| doctor::run(own, output)),
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

/// Runs a command whose result is its output.
fn printing(
    json: bool,
    command: impl FnOnce(&Output) -> Result<(), Failure>,
) -> (Output, Result<(), Failure>) {
    let output = Output::new(json);
    let outcome = finished(command(&output), &output);
    (output, outcome)
}

/// For a command whose result is its output: it is done once that is written.
fn finished(outcome: Result<(), Failure>, output: &Output) -> Result<(), Failure> {
    let written = output.finish();
    outcome?;
    written.map_err(|error| Failure::failed(format!("cannot write the result: {error}")))
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
