//! Checks whether this machine has what flash's commands need, and how to get what is missing.
//!
//! Each file checks one thing: it observes, and a pure function turns the observations into a [`Finding`]. Nothing
//! is installed or changed, and nothing uses the network. The command prints the findings.
mod containers;
mod credentials;
mod cuda;
mod machine;
mod models;
mod probe;
mod programs;
mod rust;

use std::path::PathBuf;

use serde::Serialize;

use crate::project::{Config, Package};

/// The state of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Good,
    /// Some commands will not work, or not fully.
    Note,
    /// `flash run` or a build for CPUs cannot work.
    Bad,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Such as `podman`.
    pub name: &'static str,
    pub state: State,
    /// What was found, or what is missing.
    pub said: String,
    /// Which commands need it, and what they do without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn good(name: &'static str, said: impl Into<String>) -> Self {
        Self { name, state: State::Good, said: said.into(), means: None, fix: None }
    }

    fn note(name: &'static str, said: impl Into<String>, means: &'static str) -> Self {
        Self { name, state: State::Note, said: said.into(), means: Some(means), fix: None }
    }

    fn bad(name: &'static str, said: impl Into<String>, means: &'static str) -> Self {
        Self { name, state: State::Bad, said: said.into(), means: Some(means), fix: None }
    }

    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// What is checked in addition to the machine.
pub(crate) struct Project {
    /// Where commands would be run.
    pub directory: PathBuf,
    /// `None` outside a crate.
    pub package: Option<Package>,
    pub config: Config,
}

/// Runs all checks.
pub(crate) async fn examine(project: &Project) -> Vec<Finding> {
    let mut findings = rust::findings(&project.directory).await;
    findings.extend(machine::findings(project).await);
    findings.extend(containers::findings().await);
    findings.extend(programs::findings(project));
    findings.extend(models::finding(project));
    findings.push(credentials::finding());
    findings.push(cuda::finding(project.config.build.cuda_home.clone()).await);
    findings
}
