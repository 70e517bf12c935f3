//! `flash doctor`: whether this machine has what flash needs.
//!
//! This file holds the arguments and prints the findings; `crate::doctor` does the checks.
use std::{collections::BTreeMap, ffi::OsString};

use clap::Args;
use flash_protocol::catalogue::ComputeCapability;
use serde_json::json;

use super::{
    command::{Command, Context},
    scope::DirectoryArguments,
};
use crate::{
    builder::cuda::{CudaHome, Kernels, Search, toolchains_in},
    doctor::{self, Finding, Project, State},
    exit::{Code, Failure, FailureCode},
    output::{FindingMark, Format, Output},
    project::{Config, Package, PackageError},
};

/// Check whether this machine has what flash needs, and how to get what is missing.
///
/// `✓` is present, `!` is missing for some commands, `✗` is missing for `flash run` or for building images of CPU
/// worker types. Nothing is installed or changed. The exit code is 0 without a `✗`, else 1.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  flash doctor\n  flash doctor --json | jq '.findings[] | select(.state != \"good\")'\n  \
                  eval \"$(flash doctor --cuda-env 8.9)\" && cargo clippy --features cuda"
)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    directory: DirectoryArguments,
    /// Print only the environment variables that a GPU build for these compute capabilities passes to cargo, so
    /// that you can build by hand as `flash build --gpu` does.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cuda_env: Vec<ComputeCapability>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Command for DoctorArguments {
    fn format(&self) -> Format {
        Format::of_flag(self.json)
    }

    fn run(self, context: &Context) -> Result<Code, Failure> {
        let project = project(&self)?;
        match self.cuda_env.is_empty() {
            true => examine(&project, context)?,
            false => print_cuda_environment(&self, &project, context.output())?,
        }
        Ok(Code::Success)
    }
}

/// Runs the checks and prints the findings.
fn examine(project: &Project, context: &Context) -> Result<(), Failure> {
    let output = context.output();
    let findings = context.runtime()?.block_on(doctor::examine(project));
    let is_fit = findings.iter().all(|finding| finding.state != State::Bad);
    match output.is_json() {
        true => output.object(&json!({ "ok": is_fit, "findings": findings })),
        false => findings.iter().for_each(|finding| print(finding, output)),
    }
    match is_fit {
        true => Ok(()),
        false => Err(Failure::failed("flash cannot run or build an app here")
            .hint("fix each `✗` as described, then run again: flash doctor")),
    }
}

/// Outside a crate, and without cargo, the machine can still be checked.
fn project(arguments: &DoctorArguments) -> Result<Project, Failure> {
    let found = Package::find(arguments.directory.path());
    if let Err(error @ PackageError::NoDirectory(_)) = found {
        return Err(error.into());
    }
    let package = found.ok();
    let directory =
        package.as_ref().map_or(arguments.directory.path(), |package| &package.directory).to_owned();
    let config = Config::load(&directory)?;
    Ok(Project { directory, package, config })
}

fn print(finding: &Finding, output: &Output) {
    let mark = match finding.state {
        State::Good => FindingMark::Good,
        State::Note => FindingMark::Note,
        State::Bad => FindingMark::Bad,
    };
    let fix = finding.fix.as_ref().map(|fix| format!("→ {fix}"));
    let below: Vec<&str> = finding.means.into_iter().chain(fix.as_deref()).collect();
    output.finding(mark, finding.name, &finding.said, &below);
}

fn print_cuda_environment(
    arguments: &DoctorArguments,
    project: &Project,
    output: &Output,
) -> Result<(), Failure> {
    let package = project.package.as_ref();
    let target_directory =
        package.map_or_else(|| project.directory.join("target"), |package| package.target_directory.clone());
    let environment = || {
        let home = CudaHome::find(&Search::here(project.config.build.cuda_home.clone()))?;
        let kernels = Kernels::new(arguments.cuda_env.iter().copied())?;
        home.toolchain(&kernels, &toolchains_in(&target_directory))
    };
    let toolchain =
        environment().map_err(|error| Failure::of(FailureCode::Failed, &error).hint(error.hint()))?;
    let variables = toolchain.environment();
    if output.is_json() {
        let text = |(name, value): (String, OsString)| (name, value.to_string_lossy().into_owned());
        output.object(&variables.into_iter().map(text).collect::<BTreeMap<_, _>>());
        return Ok(());
    }
    for (name, value) in variables {
        let quoted = value.to_string_lossy().replace('\'', "'\\''");
        output.line(&format!("export {name}='{quoted}'"));
    }
    Ok(())
}
