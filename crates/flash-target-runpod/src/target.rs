//! [`RunpodTarget`]: the key's account as a target. Each request is carried out by the part with its name.
use std::path::Path;

use async_trait::async_trait;
use flash_target::{
    CostQuery, Costs, Created, Environment, EnvironmentId, KeyEntry, LogQuery, LogRecord, ManualScale,
    NewEnvironment, NewKey, OnStep, Preflight, Problem, ReleaseRecord, ReleaseSpec, ScaleChange,
    ScheduledFunction, SecretEntry, SecretValue, Shipment, Status, Target, TargetError, TargetKind, now_ms,
};
use futures_util::stream::BoxStream;

use super::{
    account,
    change::{self, Intent},
    costs, logs, preflight, releases,
    rest::{Addresses, Rest},
    scale, view,
};

/// An account at Runpod.
#[derive(Debug, Clone)]
pub struct RunpodTarget {
    rest: Rest,
}

impl RunpodTarget {
    /// With this user's key; `directory` is the project's, for its `.env`. Sends nothing yet.
    ///
    /// # Errors
    /// Without a key, and for invalid addresses.
    pub fn connect(directory: Option<&Path>) -> Result<Self, TargetError> {
        let found = account::find(directory)?.ok_or_else(account::no_key)?;
        Ok(Self { rest: Rest::new(found.key, Addresses::from_environment()?)? })
    }
}

fn keys_are_elsewhere() -> TargetError {
    TargetError::new(Problem::Refused, "Runpod has keys for your account, not for an environment")
        .hint("create and revoke them in the console, under Settings, API Keys; then: flash login")
}

fn secrets_are_elsewhere() -> TargetError {
    TargetError::new(Problem::Refused, "Runpod stores secrets itself, and its API cannot set them").hint(
        "create the secret in the console, and refer to it in flash.toml: [environments.NAME.variables] \
         TOKEN = \"{{ RUNPOD_SECRET_TOKEN }}\"",
    )
}

fn schedules_do_not_run() -> TargetError {
    TargetError::new(Problem::Refused, "Runpod runs no schedules")
        .hint("start the function from a cron job of your own: flash call")
}

#[async_trait]
impl Target for RunpodTarget {
    fn kind(&self) -> TargetKind {
        TargetKind::Runpod
    }

    async fn create(&self, new: &NewEnvironment) -> Result<Created, TargetError> {
        view::create(&self.rest, new).await
    }

    async fn environments(&self) -> Result<Vec<Environment>, TargetError> {
        view::environments(&self.rest).await
    }

    async fn environment(&self, id: &EnvironmentId) -> Result<Environment, TargetError> {
        view::environment(&self.rest, id).await
    }

    async fn spec(&self, id: &EnvironmentId, release: Option<u64>) -> Result<ReleaseSpec, TargetError> {
        releases::spec(&self.rest, id, release).await
    }

    async fn history(&self, id: &EnvironmentId) -> Result<Vec<ReleaseRecord>, TargetError> {
        Ok(releases::entries(&self.rest, id).await?.iter().map(|kept| kept.entry.record(now_ms())).collect())
    }

    fn caller_key(&self) -> Option<SecretValue> {
        Some(self.rest.key().clone())
    }

    async fn preflight(&self, id: &EnvironmentId, spec: &ReleaseSpec) -> Result<Preflight, TargetError> {
        preflight::check(&self.rest, id, spec).await
    }

    async fn send(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        shipment: Shipment,
        on_step: OnStep<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        let intent = Intent { base, notes: shipment.notes, rollback_of: None };
        change::bring_live(&self.rest, id, shipment.spec, intent, on_step).await
    }

    async fn rollback(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        to: Option<u64>,
        on_step: OnStep<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        change::go_back(&self.rest, id, base, to, on_step).await
    }

    async fn undeploy(
        &self,
        id: &EnvironmentId,
        worker: Option<&str>,
        on_step: OnStep<'_>,
    ) -> Result<Option<ReleaseRecord>, TargetError> {
        change::take_out(&self.rest, id, worker, on_step).await
    }

    async fn remove(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        change::remove_all(&self.rest, id).await
    }

    async fn status(&self, id: &EnvironmentId) -> Result<Status, TargetError> {
        view::status(&self.rest, id).await
    }

    async fn scale(
        &self,
        id: &EnvironmentId,
        worker: &str,
        change: ScaleChange,
    ) -> Result<ManualScale, TargetError> {
        scale::set(&self.rest, id, worker, change).await
    }

    async fn scales(&self, id: &EnvironmentId) -> Result<Vec<ManualScale>, TargetError> {
        scale::list(&self.rest, id).await
    }

    async fn schedules(&self, _id: &EnvironmentId) -> Result<Vec<ScheduledFunction>, TargetError> {
        Err(schedules_do_not_run())
    }

    async fn run_schedule(&self, _id: &EnvironmentId, _function: &str) -> Result<String, TargetError> {
        Err(schedules_do_not_run())
    }

    async fn pause_schedule(
        &self,
        _id: &EnvironmentId,
        _function: &str,
        _paused: bool,
    ) -> Result<(), TargetError> {
        Err(schedules_do_not_run())
    }

    async fn logs(
        &self,
        id: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError> {
        logs::lines_of(&self.rest, id, query).await
    }

    async fn costs(&self, id: &EnvironmentId, query: &CostQuery) -> Result<Costs, TargetError> {
        costs::bills(&self.rest, id, query).await
    }

    async fn keys(&self, _id: &EnvironmentId) -> Result<Vec<KeyEntry>, TargetError> {
        Err(keys_are_elsewhere())
    }

    async fn new_key(&self, _id: &EnvironmentId, _label: &str) -> Result<NewKey, TargetError> {
        Err(keys_are_elsewhere())
    }

    async fn revoke_key(&self, _id: &EnvironmentId, _prefix: &str) -> Result<KeyEntry, TargetError> {
        Err(keys_are_elsewhere())
    }

    async fn secrets(&self, _id: &EnvironmentId) -> Result<Vec<SecretEntry>, TargetError> {
        Err(secrets_are_elsewhere())
    }

    async fn set_secret(
        &self,
        _id: &EnvironmentId,
        _name: &str,
        _value: &SecretValue,
    ) -> Result<SecretEntry, TargetError> {
        Err(secrets_are_elsewhere())
    }

    async fn remove_secret(&self, _id: &EnvironmentId, _name: &str) -> Result<(), TargetError> {
        Err(secrets_are_elsewhere())
    }
}
