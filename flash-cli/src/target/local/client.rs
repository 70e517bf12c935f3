//! Asks the background service, and starts it where it does not run.
use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::target::{
    CostQuery, Costs, Created, Environment, EnvironmentId, KeyEntry, LogQuery, LogRecord, NewEnvironment,
    NewKey, Problem, ReleaseRecord, ReleaseSpec, SecretEntry, SecretValue, Shipment, Status, Target,
    TargetError, TargetKind, Told,
};

/// The background service of this machine, as commands see it.
pub(crate) struct LocalTarget {}

impl LocalTarget {
    /// Finds the service, and starts it where it does not run.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) async fn connect() -> Result<Self, TargetError> {
        Err(absent())
    }
}

fn absent() -> TargetError {
    TargetError::new(Problem::Unreachable, "the background service is not there yet")
}

#[async_trait]
impl Target for LocalTarget {
    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    async fn create(&self, _: &NewEnvironment) -> Result<Created, TargetError> {
        Err(absent())
    }

    async fn environments(&self) -> Result<Vec<Environment>, TargetError> {
        Err(absent())
    }

    async fn environment(&self, _: &EnvironmentId) -> Result<Environment, TargetError> {
        Err(absent())
    }

    async fn spec(&self, _: &EnvironmentId, _: Option<u64>) -> Result<ReleaseSpec, TargetError> {
        Err(absent())
    }

    async fn history(&self, _: &EnvironmentId) -> Result<Vec<ReleaseRecord>, TargetError> {
        Err(absent())
    }

    async fn send(
        &self,
        _: &EnvironmentId,
        _: Option<u64>,
        _: Shipment,
        _: Told<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        Err(absent())
    }

    async fn rollback(
        &self,
        _: &EnvironmentId,
        _: Option<u64>,
        _: Told<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        Err(absent())
    }

    async fn undeploy(
        &self,
        _: &EnvironmentId,
        _: Option<&str>,
        _: Told<'_>,
    ) -> Result<Option<ReleaseRecord>, TargetError> {
        Err(absent())
    }

    async fn remove(&self, _: &EnvironmentId) -> Result<(), TargetError> {
        Err(absent())
    }

    async fn status(&self, _: &EnvironmentId) -> Result<Status, TargetError> {
        Err(absent())
    }

    async fn logs(
        &self,
        _: &EnvironmentId,
        _: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError> {
        Err(absent())
    }

    async fn costs(&self, _: &EnvironmentId, _: &CostQuery) -> Result<Costs, TargetError> {
        Err(absent())
    }

    async fn keys(&self, _: &EnvironmentId) -> Result<Vec<KeyEntry>, TargetError> {
        Err(absent())
    }

    async fn new_key(&self, _: &EnvironmentId, _: &str) -> Result<NewKey, TargetError> {
        Err(absent())
    }

    async fn revoke_key(&self, _: &EnvironmentId, _: &str) -> Result<KeyEntry, TargetError> {
        Err(absent())
    }

    async fn secrets(&self, _: &EnvironmentId) -> Result<Vec<SecretEntry>, TargetError> {
        Err(absent())
    }

    async fn set_secret(
        &self,
        _: &EnvironmentId,
        _: &str,
        _: &SecretValue,
    ) -> Result<SecretEntry, TargetError> {
        Err(absent())
    }

    async fn remove_secret(&self, _: &EnvironmentId, _: &str) -> Result<(), TargetError> {
        Err(absent())
    }
}
