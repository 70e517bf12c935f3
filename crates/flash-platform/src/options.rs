//! What a platform needs to start.
use std::{path::PathBuf, time::Duration};

use flash_logs::{LogStore, Sink};
use tokio::net::TcpListener;

use super::{
    gateway::{Access, DashboardOptions},
    machine::Machine,
    pool::Supervision,
    queue::Durability,
    supervisor::{Confinement, LimitScope},
    traces::Traces,
    webhook::{AllowedNetworks, Secret},
};

/// See the module.
pub struct Options {
    /// Already open, so that the caller chooses the port.
    pub listener: TcpListener,
    /// Gets all lines of workers and of the platform.
    pub log: Sink,
    /// A log that clients may read, and with it the manifest of the live release, as those of `flash run` do. Nobody can
    /// read them over HTTP without.
    pub readable_log: Option<LogStore>,
    /// What the dashboard shows of the place where the app runs.
    pub dashboard: DashboardOptions,
    /// How long running work may take when a release or the platform ends.
    pub drain_time: Duration,
    /// The job store. Jobs of an earlier platform continue.
    pub store: PathBuf,
    /// What an accepted job survives.
    pub durability: Durability,
    /// Signs webhooks.
    pub webhook_secret: Secret,
    /// Where webhooks may go.
    pub webhook_networks: AllowedNetworks,
    /// Who may send requests.
    pub access: Access,
    /// When a replaced release ends.
    pub retire: Retire,
    /// Limits for workers that do not respond.
    pub supervision: Supervision,
    /// Which workers are limited to their instance's resources.
    pub limits: LimitScope,
    /// Directories that workers must not access, if the kernel supports it.
    pub confinement: Option<Confinement>,
    /// Resources shared with other platforms of this process; if `None`, it creates its own.
    pub machine: Option<Machine>,
    /// Where spans go, if anywhere.
    pub traces: Option<Traces>,
}

/// How long a replaced release continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retire {
    /// Until its longest run and the drain time are over. Jobs that still wait then move to the live release.
    AfterLongestRun,
    /// Until all accepted work is done: a job runs on the release that accepted it.
    WhenIdle,
}
