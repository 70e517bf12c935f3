//! What travels over the control socket.
//!
//! Both ends are the same program of the same version: [`Hello`] makes sure of that, and is all that must stay
//! readable between versions.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::target::{
    CostQuery, EnvironmentId, LogQuery, LogRecord, NewEnvironment, ReleaseRecord, ReleaseSpec, SecretValue,
    Serving, Step, TargetError,
};

/// Where [`Hello`] is.
pub(super) const HELLO: &str = "/hello";
/// Where questions go.
pub(super) const ASK: &str = "/ask";
/// Where orders go; the answer is a line for each step.
pub(super) const ORDER: &str = "/order";
/// Where logs are; the answer is a line for each line.
pub(super) const LOGS: &str = "/logs";

/// Which service this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub version: String,
    pub pid: u32,
    pub started_ms: u64,
    pub manager: Manager,
    /// Whether ending it would cut nobody off.
    pub is_idle: bool,
}

/// Who starts the service again when it crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Manager {
    /// A process of ours.
    Supervisor,
    /// A unit of the user's systemd.
    Systemd,
}

/// The service and what it hosts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ServiceStatus {
    pub hello: Hello,
    pub data: PathBuf,
    pub environments: Vec<Hosted>,
    /// Rows of environments that cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// An environment, in short.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Hosted {
    pub id: EnvironmentId,
    pub url: Option<String>,
    pub serving: Serving,
}

/// What is answered at once, with JSON of the contract's type or a [`TargetError`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Question {
    Service,
    Environments,
    Create(NewEnvironment),
    Environment { id: EnvironmentId },
    Spec { id: EnvironmentId, release: Option<u64> },
    History { id: EnvironmentId },
    Remove { id: EnvironmentId },
    Status { id: EnvironmentId },
    Costs { id: EnvironmentId, query: CostQuery },
    Keys { id: EnvironmentId },
    NewKey { id: EnvironmentId, label: String },
    RevokeKey { id: EnvironmentId, prefix: String },
    Secrets { id: EnvironmentId },
    SetSecret { id: EnvironmentId, name: String, value: SecretValue },
    RemoveSecret { id: EnvironmentId, name: String },
}

/// What takes its time.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    Send { id: EnvironmentId, base: Option<u64>, spec: Box<ReleaseSpec>, notes: Option<String> },
    Rollback { id: EnvironmentId, to: Option<u64> },
    Undeploy { id: EnvironmentId, worker: Option<String> },
}

/// A line of the answer to an order. The last one is not a step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Progress {
    Step(Step),
    Done(Option<ReleaseRecord>),
    Failed(TargetError),
}

/// Which log.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LogQuestion {
    pub id: EnvironmentId,
    pub query: LogQuery,
}

/// A line of a log on its way.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogAnswer {
    Line(LogRecord),
    Failed(TargetError),
    /// There are no more: without it the service broke off.
    End,
}
