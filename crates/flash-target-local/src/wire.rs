//! The messages on the control socket.
//!
//! Both ends are the same program in the same version: [`Hello`] makes sure of that, and is all that must stay
//! readable between versions.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use flash_target::{
    CostQuery, EnvironmentId, LogQuery, LogRecord, NewEnvironment, ReleaseRecord, ReleaseSpec, ScaleChange,
    SecretValue, Serving, Step, TargetError,
};

/// The path of [`Hello`].
pub(super) const HELLO: &str = "/hello";
/// The path for requests.
pub(super) const ASK: &str = "/ask";
/// The path for changes; the answer has a line for each step.
pub(super) const ORDER: &str = "/order";
/// The path for logs; the answer has a line for each log line.
pub(super) const LOGS: &str = "/logs";

/// Which service this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: String,
    pub pid: u32,
    pub started_ms: u64,
    pub manager: Manager,
    /// Whether ending it would interrupt nobody.
    pub is_idle: bool,
}

/// Who restarts the service when it crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Manager {
    /// A process of ours.
    Supervisor,
    /// A unit of the user's systemd.
    Systemd,
    /// The cluster that it runs in.
    Cluster,
}

/// The service and its environments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceStatus {
    /// Its version, process and manager.
    pub hello: Hello,
    /// Its data directory.
    pub data: PathBuf,
    /// All that can be read, by app and name.
    pub environments: Vec<HostedEnvironment>,
    /// Rows of environments that cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<String>,
}

/// An environment, in short.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostedEnvironment {
    /// Its app and name.
    pub id: EnvironmentId,
    /// The address of its routes.
    pub url: Option<String>,
    /// Which release answers requests, or why none does.
    pub serving: Serving,
}

/// Requests that are answered at once, with JSON of the contract's type or a [`TargetError`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Query {
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
    Scale { id: EnvironmentId, worker: String, change: ScaleChange },
    Scales { id: EnvironmentId },
    Schedules { id: EnvironmentId },
    RunSchedule { id: EnvironmentId, function: String },
    PauseSchedule { id: EnvironmentId, function: String, paused: bool },
}

/// Changes, which take time.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ChangeRequest {
    Send { id: EnvironmentId, base: Option<u64>, spec: Box<ReleaseSpec>, notes: Option<String> },
    Rollback { id: EnvironmentId, base: Option<u64>, to: Option<u64> },
    Undeploy { id: EnvironmentId, worker: Option<String> },
}

/// A line of the answer to a change. The last one is not a step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Progress {
    Step(Step),
    Done(Option<ReleaseRecord>),
    Failed(TargetError),
}

/// Which log.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LogRequest {
    pub id: EnvironmentId,
    pub query: LogQuery,
}

/// A line of a log.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LogResponse {
    Line(LogRecord),
    Failed(TargetError),
    /// The end: without it, the connection broke.
    End,
}
