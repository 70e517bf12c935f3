//! Targets: where environments live, and what commands can do with them.
//!
//! This crate owns the trait [`Target`] and the types that pass through it. `flash-target-local` implements it with the
//! background service on this machine, `flash-target-runpod` with Runpod's cloud. `flash-cli` decides what a release
//! consists of and what users see.
//!
//! serde can read and write all of these types, so that a target may be another process. The exception is [`Shipment`],
//! which names files of this machine.
#![warn(unreachable_pub)]

mod access;
mod cause;
mod clock;
mod costs;
mod environment;
mod error;
mod preflight;
mod release;
mod scale;
mod schedule;
mod status;
mod undeploy;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

pub use access::{KeyEntry, NewKey, SecretEntry, SecretValue};
pub use clock::now_ms;
pub use costs::{CallsFrom, CostQuery, Costs, FunctionCost, Grain, Split, WorkerCost};
pub use environment::{Created, DeployedEndpoint, Environment, EnvironmentId, NewEnvironment, TargetKind};
pub use error::{Problem, TargetError};
pub use flash_logs::{LogLevel, LogQuery, LogRecord, LogStream, SearchError, Selected, Tail, compile_search};
pub use preflight::{EndpointChange, Finding, Preflight};
pub use release::{
    ArtifactSpec, BuildOrigin, CloudSettings, CommandSpec, DEFAULT_KEPT_RELEASES, FileSpec, ModelDelivery,
    ModelSpec, PlanOf, ReleaseRecord, ReleaseSpec, ReleaseState, RuntimeSettings, Shipment, Step,
    live_before,
};
pub use scale::{ManualScale, ScaleChange};
pub use schedule::{ScheduledFunction, ScheduledRun};
pub use status::{
    FunctionBatches, JobMemory, LastError, ModelStatus, Serving, Status, WorkerCounts, WorkerStatus,
    WorkerUsage,
};

/// Called for each step of a running change.
pub type OnStep<'a> = &'a mut (dyn FnMut(Step) + Send);

/// A place where environments live.
#[async_trait]
pub trait Target: Send + Sync {
    /// Its kind.
    fn kind(&self) -> TargetKind;

    /// Makes an environment with its first key, which cannot be read again.
    async fn create(&self, new: &NewEnvironment) -> Result<Created, TargetError>;

    /// All environments of all apps, by app and name.
    async fn environments(&self) -> Result<Vec<Environment>, TargetError>;

    /// One of them.
    async fn environment(&self, id: &EnvironmentId) -> Result<Environment, TargetError>;

    /// The spec of a release; `None`: the live one.
    async fn spec(&self, id: &EnvironmentId, release: Option<u64>) -> Result<ReleaseSpec, TargetError>;

    /// All releases, newest first.
    async fn history(&self, id: &EnvironmentId) -> Result<Vec<ReleaseRecord>, TargetError>;

    /// A base URL that reaches the environment's routes from this machine as long as this value lives, if those of its
    /// endpoints do not.
    async fn reach(&self, _id: &EnvironmentId) -> Result<Option<String>, TargetError> {
        Ok(None)
    }

    /// Checks, before any change, what would prevent a release from going live, and what differs between the
    /// current and the wanted state. The release need not be built: its artifact may be empty.
    async fn preflight(&self, _id: &EnvironmentId, _spec: &ReleaseSpec) -> Result<Preflight, TargetError> {
        Ok(Preflight::default())
    }

    /// The key that the user's own calls send, if the target has one key for all environments.
    fn caller_key(&self) -> Option<SecretValue> {
        None
    }

    /// Deploys a build. `base` is the release that the sender saw live; if another one is live now, the error is
    /// [`Problem::Moved`]. Returns when the new release serves; otherwise the previous one still does.
    async fn send(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        shipment: Shipment,
        on_step: OnStep<'_>,
    ) -> Result<ReleaseRecord, TargetError>;

    /// Makes a new release from an earlier one; `None`: from [`live_before`]. `base` is as for [`Target::send`].
    async fn rollback(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        to: Option<u64>,
        on_step: OnStep<'_>,
    ) -> Result<ReleaseRecord, TargetError>;

    /// Removes one endpoint, or all: running work ends first; the environment and its history stay. Returns `None`
    /// if nothing is live any more.
    async fn undeploy(
        &self,
        id: &EnvironmentId,
        worker: Option<&str>,
        on_step: OnStep<'_>,
    ) -> Result<Option<ReleaseRecord>, TargetError>;

    /// Stops everything and deletes jobs, releases, keys, secrets and logs.
    async fn remove(&self, id: &EnvironmentId) -> Result<(), TargetError>;

    /// The current state.
    async fn status(&self, id: &EnvironmentId) -> Result<Status, TargetError>;

    /// Sets the limits of a worker type's workers, at once and without a release.
    async fn scale(
        &self,
        id: &EnvironmentId,
        worker: &str,
        change: ScaleChange,
    ) -> Result<ManualScale, TargetError>;

    /// The limits that differ from the live release because a person has set them, as far as the target records that.
    async fn scales(&self, _id: &EnvironmentId) -> Result<Vec<ManualScale>, TargetError> {
        Ok(Vec::new())
    }

    /// The scheduled functions of the live release.
    async fn schedules(&self, id: &EnvironmentId) -> Result<Vec<ScheduledFunction>, TargetError>;

    /// Runs a scheduled function now, besides its times. Returns the ID of its job.
    async fn run_schedule(&self, id: &EnvironmentId, function: &str) -> Result<String, TargetError>;

    /// Pauses a scheduled function, or resumes it.
    async fn pause_schedule(
        &self,
        id: &EnvironmentId,
        function: &str,
        paused: bool,
    ) -> Result<(), TargetError>;

    /// Lines of the log. Ends with the last one, or never if the query follows.
    async fn logs(
        &self,
        id: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError>;

    /// What was spent.
    async fn costs(&self, id: &EnvironmentId, query: &CostQuery) -> Result<Costs, TargetError>;

    /// Keys of the environment, including revoked ones.
    async fn keys(&self, id: &EnvironmentId) -> Result<Vec<KeyEntry>, TargetError>;

    /// Makes another key.
    async fn new_key(&self, id: &EnvironmentId, label: &str) -> Result<NewKey, TargetError>;

    /// Revokes the key with this prefix.
    async fn revoke_key(&self, id: &EnvironmentId, prefix: &str) -> Result<KeyEntry, TargetError>;

    /// Names of secrets; values cannot be read.
    async fn secrets(&self, id: &EnvironmentId) -> Result<Vec<SecretEntry>, TargetError>;

    /// Sets a secret for future releases.
    async fn set_secret(
        &self,
        id: &EnvironmentId,
        name: &str,
        value: &SecretValue,
    ) -> Result<SecretEntry, TargetError>;

    /// Removes a secret from future releases.
    async fn remove_secret(&self, id: &EnvironmentId, name: &str) -> Result<(), TargetError>;
}
