//! Where environments live, and what commands may ask of such a place.
//!
//! [`Target`] is all that the commands know: the local one is the background service of this machine
//! ([`local`]). Everything that travels through it is a type of this folder, with serde on both ways, so that a
//! target may be another process.
mod access;
mod costs;
mod environment;
mod error;
pub(crate) mod local;
mod logs;
mod preflight;
mod release;
pub(crate) mod runpod;
mod status;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

pub(crate) use access::{KeyEntry, NewKey, SecretEntry, SecretValue};
pub(crate) use costs::{CallsFrom, CostQuery, Costs, FunctionCost, Grain, Split, WorkerCost};
pub(crate) use environment::{
    Created, DeployedEndpoint, Environment, EnvironmentId, NewEnvironment, TargetKind,
};
pub(crate) use error::{Problem, TargetError};
pub(crate) use logs::{
    LogLevel, LogQuery, LogRecord, LogStream, SearchError, Selected, Tail, compile_search,
};
pub(crate) use preflight::{FieldChange, Finding, Preflight};
pub(crate) use release::{
    ArtifactSpec, BuildOrigin, CloudSettings, CommandSpec, DEFAULT_KEPT_RELEASES, FileSpec, ReleaseRecord,
    ReleaseSpec, ReleaseState, RuntimeSettings, Shipment, Step, live_before,
};
pub(crate) use status::{JobMemory, LastError, Serving, Status, WorkerCounts, WorkerStatus};

/// Told of each step of a change while it is under way.
pub(crate) type Told<'a> = &'a mut (dyn FnMut(Step) + Send);

/// A place where environments live.
#[async_trait]
pub(crate) trait Target: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> TargetKind;

    /// Makes an environment with its first key, which nobody can read again.
    async fn create(&self, new: &NewEnvironment) -> Result<Created, TargetError>;

    /// All environments, of all apps, by app and name.
    async fn environments(&self) -> Result<Vec<Environment>, TargetError>;

    /// One of them.
    async fn environment(&self, id: &EnvironmentId) -> Result<Environment, TargetError>;

    /// What a release consists of; `None` stands for the live one.
    async fn spec(&self, id: &EnvironmentId, release: Option<u64>) -> Result<ReleaseSpec, TargetError>;

    /// All releases, the latest first.
    async fn history(&self, id: &EnvironmentId) -> Result<Vec<ReleaseRecord>, TargetError>;

    /// Looks, before anything is changed, at what would keep a release from being brought live, and at what differs
    /// between what is there and what should be. The release need not be built: its artifact may be empty.
    async fn preflight(&self, _id: &EnvironmentId, _spec: &ReleaseSpec) -> Result<Preflight, TargetError> {
        Ok(Preflight::default())
    }

    /// The key that the user's own calls show, where the target has one of its own for all environments.
    fn caller_key(&self) -> Option<SecretValue> {
        None
    }

    /// Brings a build live. `base` is the release that the sender has seen live: another one is
    /// [`Problem::Moved`]. Returns when the new release serves; otherwise the one before it still does.
    async fn send(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        shipment: Shipment,
        told: Told<'_>,
    ) -> Result<ReleaseRecord, TargetError>;

    /// Makes a new release of what an earlier one was; `None`: of [`live_before`].
    async fn rollback(
        &self,
        id: &EnvironmentId,
        to: Option<u64>,
        told: Told<'_>,
    ) -> Result<ReleaseRecord, TargetError>;

    /// Takes one endpoint out, or all: running work ends first, the environment and its history stay. `None`
    /// when nothing is live any more.
    async fn undeploy(
        &self,
        id: &EnvironmentId,
        worker: Option<&str>,
        told: Told<'_>,
    ) -> Result<Option<ReleaseRecord>, TargetError>;

    /// Ends everything and deletes jobs, releases, keys, secrets and logs.
    async fn remove(&self, id: &EnvironmentId) -> Result<(), TargetError>;

    /// What runs at this moment.
    async fn status(&self, id: &EnvironmentId) -> Result<Status, TargetError>;

    /// Lines of the log. Ends with the last one, or never when the query follows.
    async fn logs(
        &self,
        id: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError>;

    /// What was spent.
    async fn costs(&self, id: &EnvironmentId, query: &CostQuery) -> Result<Costs, TargetError>;

    /// Keys that open the environment, revoked ones too.
    async fn keys(&self, id: &EnvironmentId) -> Result<Vec<KeyEntry>, TargetError>;

    /// One more key.
    async fn new_key(&self, id: &EnvironmentId, label: &str) -> Result<NewKey, TargetError>;

    /// From now on this key, named by its prefix, opens nothing.
    async fn revoke_key(&self, id: &EnvironmentId, prefix: &str) -> Result<KeyEntry, TargetError>;

    /// Names of secrets; values cannot be read.
    async fn secrets(&self, id: &EnvironmentId) -> Result<Vec<SecretEntry>, TargetError>;

    /// Sets a secret for releases to come.
    async fn set_secret(
        &self,
        id: &EnvironmentId,
        name: &str,
        value: &SecretValue,
    ) -> Result<SecretEntry, TargetError>;

    /// Removes a secret from releases to come.
    async fn remove_secret(&self, id: &EnvironmentId, name: &str) -> Result<(), TargetError>;
}
