//! The command line: which commands there are, and how the one that is meant is run.
//!
//! `docs/commands.md` is made from it, by a test here.
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};

use super::{
    build, call, catalog,
    command::{Command, Context, Unread},
    completions, cost, dashboard, deploy, doctor, init, key, login, logs, models, run, scale, schedule,
    secret, service, status, undeploy,
};
use crate::exit::{Code, Failure};

/// Serverless workers in Rust: run them on this machine, as they run in production.
#[derive(Parser)]
#[command(
    name = "flash",
    version,
    arg_required_else_help = true,
    after_help = "Start with:\n  flash init hello       create a crate from a template\n  \
                  cd hello && flash run  serve it on this machine\n  \
                  flash deploy new prod  make an environment; then: flash deploy send prod\n\n\
                  Exit codes: 0 success; 1 failed (build, app, port); \
                  2 wrong usage, no crate, an invalid flash.toml, a missing confirmation; flash deploy --plan: changes."
)]
struct CommandLine {
    /// Run as if started in this directory.
    #[arg(long = "dir", short = 'C', value_name = "DIR")]
    directory: Option<PathBuf>,
    #[command(subcommand)]
    command: Selected,
}

/// Declares the commands in the order of the help, each with its name and its arguments.
macro_rules! commands {
    ($($(#[$attribute:meta])* $name:ident($arguments:ty),)+) => {
        /// The command that is meant, with its arguments.
        #[derive(Subcommand)]
        enum Selected {
            $($(#[$attribute])* $name($arguments),)+
        }

        impl Selected {
            /// Runs it in this directory.
            fn run_in(self, directory: Option<&Path>) -> Code {
                match self {
                    $(Self::$name(arguments) => carry_out(arguments, directory),)+
                }
            }
        }
    };
}

commands! {
    Init(init::InitArguments),
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
    Scale(scale::ScaleArguments),
    Schedule(schedule::ScheduleArguments),
    Logs(logs::LogsArguments),
    Dashboard(dashboard::DashboardArguments),
    Call(call::CallArguments),
    Cost(cost::CostArguments),
    Models(models::ModelsArguments),
    Key(key::KeyArguments),
    Secret(secret::SecretArguments),
    Login(login::LoginArguments),
    Logout(login::LogoutArguments),
    Catalog(catalog::CatalogArguments),
    Service(service::ServiceArguments),
    Doctor(doctor::DoctorArguments),
    Completions(completions::CompletionsArguments),
    Man(completions::ManArguments),
}

/// Parses the command line and runs the command.
pub(crate) fn main() -> ExitCode {
    let CommandLine { directory, command } = CommandLine::parse();
    command.run_in(directory.as_deref()).into()
}

/// Parses what comes after `flash`, and runs nothing.
#[cfg(test)]
pub(crate) fn parse(arguments: &[String]) -> Result<(), clap::Error> {
    let name = std::iter::once("flash");
    CommandLine::try_parse_from(name.chain(arguments.iter().map(String::as_str))).map(drop)
}

/// Runs a command, and reports its failure.
fn carry_out<C: Command>(command: C, directory: Option<&Path>) -> Code {
    let context = Context::new(command.format(), CommandLine::command);
    let outcome = directory.map_or(Ok(()), enter).and_then(|()| command.run(&context));
    let output = context.output();
    let written = match C::UNREAD {
        Unread::Await => output.finish(),
        Unread::Leave => Ok(()),
    };
    let written = written.map_err(|error| Failure::failed(format!("cannot write the result: {error}")));
    output.flush();
    match outcome.and_then(|code| written.map(|()| code)) {
        Ok(code) => code,
        Err(failure) => {
            output.error(&failure);
            output.flush();
            failure.code.into()
        }
    }
}

/// Goes to a directory, before anything reads the current one.
fn enter(directory: &Path) -> Result<(), Failure> {
    std::env::set_current_dir(directory)
        .map_err(|error| Failure::unusable(format!("cannot run in {}: {error}", directory.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Accepts what the command line says now.
    const UPDATE: &str = "UPDATE_SNAPSHOTS";

    #[test]
    fn no_two_flags_of_a_command_are_in_each_others_way() {
        CommandLine::command().debug_assert();
    }

    /// The help of a command and of all below it, as parts of a page.
    fn reference(command: &mut clap::Command, path: &str, page: &mut String) {
        let help = command.clone().term_width(100).render_long_help().to_string();
        let lines: Vec<&str> = help.trim().lines().map(str::trim_end).collect();
        page.push_str(&format!("\n## `{path}`\n\n```text\n{}\n```\n", lines.join("\n")));
        for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
            // The same commands by another name.
            if path == "flash" && below.get_name() == "env" {
                continue;
            }
            reference(below, &format!("{path} {}", below.get_name().to_owned()), page);
        }
    }

    #[test]
    fn the_page_of_all_commands_says_what_their_help_says() {
        let mut command = CommandLine::command();
        command.build();
        let mut page = String::from(
            "# Commands\n\nThe help of every command, as `--help` prints it. `flash env` is the same as `flash deploy`. A test \
             compares\nthis page with the code.\n",
        );
        reference(&mut command, "flash", &mut page);
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == page,
            "docs/commands.md is not what the command line says; accept it with \
             `{UPDATE}=1 cargo test -p flash-cli command_line`, and read the diff"
        );
    }
}
