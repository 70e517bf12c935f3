//! What the service's server can ask for. Each request is carried out by the part with its name.
use std::sync::Arc;

use flash_platform::{Cluster, ConnectionShare};
use flash_target::{
    CostQuery, Costs, Created, Environment, EnvironmentId, KeyEntry, LogQuery, LogRecord, ManualScale,
    NewEnvironment, NewKey, ReleaseRecord, ReleaseSpec, ScaleChange, ScheduledFunction, SecretEntry,
    SecretValue, Status, TargetError,
};
use futures_util::stream::BoxStream;

use super::{
    change::{self, Steps},
    costs, create,
    host::Host,
    keys, remove, scales, schedules, secrets, shutdown, startup, view,
};
use crate::{directory::DataDirectory, report::SharedReport, wire::HostedEnvironment};

/// All environments. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Environments {
    pub(super) host: Arc<Host>,
}

impl Environments {
    /// Opens the data and starts what should run.
    pub(crate) async fn open(
        directory: DataDirectory,
        cluster: Option<Arc<dyn Cluster>>,
        report: SharedReport,
    ) -> Result<Self, TargetError> {
        Ok(Self { host: startup::open(directory, cluster, report).await? })
    }

    /// Makes an environment and its first key. It listens at once, and answers that nothing is deployed.
    pub(crate) async fn create(&self, new: NewEnvironment) -> Result<Created, TargetError> {
        create::create(&self.host, new).await
    }

    /// Stops an environment and deletes everything that belongs to it.
    pub(crate) async fn remove(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        remove::remove(&self.host, id).await
    }

    /// Deploys what was staged.
    pub(crate) async fn send(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        spec: ReleaseSpec,
        notes: Option<String>,
        steps: &Steps,
    ) -> Result<ReleaseRecord, TargetError> {
        change::send(&self.host, id, base, spec, notes, steps).await
    }

    /// Makes a new release from an earlier one.
    pub(crate) async fn rollback(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        to: Option<u64>,
        notes: Option<String>,
        steps: &Steps,
    ) -> Result<ReleaseRecord, TargetError> {
        change::rollback(&self.host, id, base, to, notes, steps).await
    }

    /// Removes one endpoint, or all.
    pub(crate) async fn undeploy(
        &self,
        id: &EnvironmentId,
        worker: Option<&str>,
        steps: &Steps,
    ) -> Result<Option<ReleaseRecord>, TargetError> {
        change::undeploy(&self.host, id, worker, steps).await
    }

    /// All environments, by app and name.
    pub(crate) async fn environments(&self) -> Result<Vec<Environment>, TargetError> {
        view::environments(&self.host).await
    }

    /// One environment.
    pub(crate) async fn environment(&self, id: &EnvironmentId) -> Result<Environment, TargetError> {
        view::environment(&self.host, id).await
    }

    /// The spec of a release; `None`: the live one.
    pub(crate) async fn spec(
        &self,
        id: &EnvironmentId,
        release: Option<u64>,
    ) -> Result<ReleaseSpec, TargetError> {
        view::spec(&self.host, id, release).await
    }

    /// All releases, newest first.
    pub(crate) async fn history(&self, id: &EnvironmentId) -> Result<Vec<ReleaseRecord>, TargetError> {
        view::history(&self.host, id).await
    }

    /// The current state.
    pub(crate) async fn status(&self, id: &EnvironmentId) -> Result<Status, TargetError> {
        view::status(&self.host, id).await
    }

    /// Lines of the log.
    pub(crate) fn logs(
        &self,
        id: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError> {
        self.host.find(id)?.logs.query(query)
    }

    /// The sums of a period.
    pub(crate) async fn costs(&self, id: &EnvironmentId, query: CostQuery) -> Result<Costs, TargetError> {
        costs::costs(&self.host, id, query).await
    }

    /// All keys, including revoked ones.
    pub(crate) async fn keys(&self, id: &EnvironmentId) -> Result<Vec<KeyEntry>, TargetError> {
        keys::list(&self.host, id).await
    }

    /// Makes another key; it is valid when this returns.
    pub(crate) async fn new_key(&self, id: &EnvironmentId, label: &str) -> Result<NewKey, TargetError> {
        keys::new_key(&self.host, id, label).await
    }

    /// Revokes this key; it is invalid when this returns. The prefix may be shortened as long as it is unique.
    pub(crate) async fn revoke_key(&self, id: &EnvironmentId, prefix: &str) -> Result<KeyEntry, TargetError> {
        keys::revoke_key(&self.host, id, prefix).await
    }

    /// Names of secrets.
    pub(crate) async fn secrets(&self, id: &EnvironmentId) -> Result<Vec<SecretEntry>, TargetError> {
        secrets::list(&self.host, id).await
    }

    /// Sets a secret for future releases.
    pub(crate) async fn set_secret(
        &self,
        id: &EnvironmentId,
        name: &str,
        value: SecretValue,
    ) -> Result<SecretEntry, TargetError> {
        secrets::set_secret(&self.host, id, name, value).await
    }

    /// Removes a secret from future releases.
    pub(crate) async fn remove_secret(&self, id: &EnvironmentId, name: &str) -> Result<(), TargetError> {
        secrets::remove_secret(&self.host, id, name).await
    }

    /// Sets the limits of a worker type without a release.
    pub(crate) async fn scale(
        &self,
        id: &EnvironmentId,
        worker: &str,
        change: ScaleChange,
    ) -> Result<ManualScale, TargetError> {
        scales::set(&self.host, id, worker, change).await
    }

    /// The limits that a person has set.
    pub(crate) async fn scales(&self, id: &EnvironmentId) -> Result<Vec<ManualScale>, TargetError> {
        scales::list(&self.host, id).await
    }

    /// The scheduled functions of the live release.
    pub(crate) fn schedules(&self, id: &EnvironmentId) -> Result<Vec<ScheduledFunction>, TargetError> {
        schedules::list(&self.host, id)
    }

    /// Runs a scheduled function now. Returns the ID of its job.
    pub(crate) async fn run_schedule(
        &self,
        id: &EnvironmentId,
        function: &str,
    ) -> Result<String, TargetError> {
        schedules::run(&self.host, id, function).await
    }

    /// Pauses or resumes a scheduled function.
    pub(crate) fn pause_schedule(
        &self,
        id: &EnvironmentId,
        function: &str,
        paused: bool,
    ) -> Result<(), TargetError> {
        schedules::pause(&self.host, id, function, paused)
    }

    /// Environments that cannot be read, and so do not run.
    pub(crate) fn damaged(&self) -> Vec<String> {
        self.host.database.damaged(None)
    }

    /// For the service's own status: name, address, live release.
    pub(crate) async fn hosted(&self) -> Result<Vec<HostedEnvironment>, TargetError> {
        view::hosted(&self.host).await
    }

    /// The number of file descriptors left for other listeners.
    pub(crate) fn share(&self) -> ConnectionShare {
        self.host.machine.share()
    }

    /// Whether ending now would interrupt nobody.
    pub(crate) async fn has_nothing_to_lose(&self) -> bool {
        shutdown::has_nothing_to_lose(&self.host).await
    }

    /// Stops everything: running work gets its drain time, jobs and releases stay for the next start.
    pub(crate) async fn stop(&self) {
        shutdown::stop(&self.host).await;
    }
}
