//! The background service as a target: what commands ask of it, and that it is started when they first do.
use std::{path::Path, time::Duration};

use async_trait::async_trait;
use flash_target::{
    CostQuery, Costs, Created, EndpointChange, Environment, EnvironmentId, KeyEntry, LogQuery, LogRecord,
    ManualScale, NewEnvironment, NewKey, OnStep, Preflight, Problem, ReleaseRecord, ReleaseSpec, ScaleChange,
    ScheduledFunction, SecretEntry, SecretValue, Shipment, Status, Step, Target, TargetError, TargetKind,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use serde::de::DeserializeOwned;
use tokio::{sync::OnceCell, time::Instant};

use super::{
    artifact,
    connection::{Connection, broke_off},
    directory::DataDirectory,
    process, programs,
    wire::{ChangeRequest, Hello, LOGS, LogRequest, LogResponse, Query},
};

/// How long a service elsewhere may be away, and how often it is asked meanwhile.
const AWAY: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(300);

/// A service, as commands see it: that of this machine, or one in a cluster.
pub struct LocalTarget {
    place: Place,
    connection: Connection,
    /// Set once the service was seen to run.
    ensured: OnceCell<()>,
}

/// Where the service is.
enum Place {
    Here(DataDirectory),
    Elsewhere,
}

impl LocalTarget {
    /// The service of this user. It is started with the first request, if it is not running then.
    ///
    /// # Errors
    /// When its directory cannot be used.
    pub fn open() -> Result<Self, TargetError> {
        let directory = DataDirectory::of_user()?;
        let connection = Connection::new(&directory)?;
        Ok(Self { place: Place::Here(directory), connection, ensured: OnceCell::new() })
    }

    /// A service elsewhere, to which this socket leads. It must run and have the version of this program.
    ///
    /// # Errors
    /// When the socket's path cannot be used.
    pub fn forwarded(socket: &Path) -> Result<Self, TargetError> {
        let connection = Connection::forwarded(socket)?;
        Ok(Self { place: Place::Elsewhere, connection, ensured: OnceCell::new() })
    }

    /// The connection to the running service.
    ///
    /// # Errors
    /// When it does not start, or has another version and has work.
    async fn service(&self) -> Result<&Connection, TargetError> {
        let ensured = || async {
            match &self.place {
                Place::Here(directory) => process::ensure(directory).await,
                Place::Elsewhere => self.has_this_version().await,
            }
        };
        self.ensured.get_or_try_init(ensured).await?;
        Ok(&self.connection)
    }

    /// # Errors
    /// When it cannot be reached, or has another version: what both send is only defined within one.
    async fn has_this_version(&self) -> Result<(), TargetError> {
        // While its pod moves, it is away for seconds.
        let until = Instant::now() + AWAY;
        let Hello { version, .. } = loop {
            match self.connection.hello().await? {
                Some(hello) => break hello,
                None if Instant::now() < until => tokio::time::sleep(AGAIN).await,
                None => {
                    let message = "the environment's platform does not answer";
                    return Err(TargetError::new(Problem::Unreachable, message)
                        .hint("see its pod: kubectl get pods -A -l app.kubernetes.io/component=platform"));
                }
            }
        };
        if version == env!("CARGO_PKG_VERSION") {
            return Ok(());
        }
        let message =
            format!("the environment runs flash {version}, and this is flash {}", env!("CARGO_PKG_VERSION"));
        Err(TargetError::new(Problem::Refused, message)
            .hint("use that version, or bring the environment to this one: flash deploy upgrade"))
    }

    async fn ask<T: DeserializeOwned>(&self, question: Query) -> Result<T, TargetError> {
        self.service().await?.ask(&question).await
    }

    /// Copies the files of a build to the service's directory.
    async fn stage(
        &self,
        id: &EnvironmentId,
        shipment: &Shipment,
        on_step: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), TargetError> {
        // In a cluster, images are pulled where they run.
        let Place::Here(directory) = &self.place else { return Ok(()) };
        // Checked by the service first: a typo must not create a directory.
        self.environment(id).await?;
        let directory = directory.environment(id);
        let (artifact, sources) = (shipment.spec.artifact.clone(), shipment.sources.clone());
        // Only the latest value counts: showing it may be slower than the disk.
        let (sent, mut seen) = tokio::sync::watch::channel(None);
        let copied = tokio::task::spawn_blocking(move || {
            artifact::stage(&directory, &artifact, &sources, |done, total| {
                sent.send_replace(Some((done, total)));
            })
        });
        while seen.changed().await.is_ok() {
            if let Some((done, total)) = *seen.borrow_and_update() {
                on_step(Step::Sending { done, total });
            }
        }
        copied.await.unwrap_or_else(|_| Err(TargetError::new(Problem::Failed, "copying the build failed")))
    }
}

/// The limits that this release takes back.
fn taken_back(scales: &[ManualScale], spec: &ReleaseSpec) -> Vec<EndpointChange> {
    let mut changes = Vec::new();
    for scale in scales {
        // A worker type that the release no longer has is in the plan itself.
        let Some(worker) = spec.manifest.worker(&scale.worker) else { continue };
        let limits = [
            ("workers.min", scale.workers_min, worker.workers_min),
            ("workers.max", scale.workers_max, worker.workers_max),
        ];
        for (field, old, new) in limits.into_iter().filter(|(_, old, new)| old != new) {
            changes.push(EndpointChange {
                worker: scale.worker.clone(),
                field: field.to_owned(),
                old: Some(format!("{old} (by flash scale)")),
                new: Some(new.to_string()),
            });
        }
    }
    changes
}

#[async_trait]
impl Target for LocalTarget {
    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    async fn create(&self, new: &NewEnvironment) -> Result<Created, TargetError> {
        self.ask(Query::Create(new.clone())).await
    }

    async fn environments(&self) -> Result<Vec<Environment>, TargetError> {
        // A service that never ran has none: a mistyped command leaves no service behind on a new machine.
        if let Place::Here(directory) = &self.place
            && !directory.database().exists()
        {
            return Ok(Vec::new());
        }
        self.ask(Query::Environments).await
    }

    async fn environment(&self, id: &EnvironmentId) -> Result<Environment, TargetError> {
        self.ask(Query::Environment { id: id.clone() }).await
    }

    async fn spec(&self, id: &EnvironmentId, release: Option<u64>) -> Result<ReleaseSpec, TargetError> {
        self.ask(Query::Spec { id: id.clone(), release }).await
    }

    async fn history(&self, id: &EnvironmentId) -> Result<Vec<ReleaseRecord>, TargetError> {
        self.ask(Query::History { id: id.clone() }).await
    }

    async fn send(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        shipment: Shipment,
        on_step: OnStep<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        self.stage(id, &shipment, on_step).await?;
        let Shipment { spec, notes, .. } = shipment;
        let order = ChangeRequest::Send { id: id.clone(), base, spec: Box::new(spec), notes };
        self.service().await?.order(&order, on_step).await?.ok_or_else(broke_off)
    }

    async fn rollback(
        &self,
        id: &EnvironmentId,
        base: Option<u64>,
        to: Option<u64>,
        on_step: OnStep<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        let order = ChangeRequest::Rollback { id: id.clone(), base, to };
        self.service().await?.order(&order, on_step).await?.ok_or_else(broke_off)
    }

    async fn undeploy(
        &self,
        id: &EnvironmentId,
        worker: Option<&str>,
        on_step: OnStep<'_>,
    ) -> Result<Option<ReleaseRecord>, TargetError> {
        let order = ChangeRequest::Undeploy { id: id.clone(), worker: worker.map(str::to_owned) };
        self.service().await?.order(&order, on_step).await
    }

    async fn remove(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        self.ask(Query::Remove { id: id.clone() }).await
    }

    async fn status(&self, id: &EnvironmentId) -> Result<Status, TargetError> {
        self.ask(Query::Status { id: id.clone() }).await
    }

    async fn preflight(&self, id: &EnvironmentId, spec: &ReleaseSpec) -> Result<Preflight, TargetError> {
        let scales: Vec<ManualScale> = self.ask(Query::Scales { id: id.clone() }).await?;
        let problems = match &self.place {
            Place::Here(_) => programs::problems(spec).await,
            Place::Elsewhere => Vec::new(),
        };
        Ok(Preflight { problems, changes: taken_back(&scales, spec), ..Preflight::default() })
    }

    async fn scale(
        &self,
        id: &EnvironmentId,
        worker: &str,
        change: ScaleChange,
    ) -> Result<ManualScale, TargetError> {
        self.ask(Query::Scale { id: id.clone(), worker: worker.to_owned(), change }).await
    }

    async fn scales(&self, id: &EnvironmentId) -> Result<Vec<ManualScale>, TargetError> {
        self.ask(Query::Scales { id: id.clone() }).await
    }

    async fn schedules(&self, id: &EnvironmentId) -> Result<Vec<ScheduledFunction>, TargetError> {
        self.ask(Query::Schedules { id: id.clone() }).await
    }

    async fn run_schedule(&self, id: &EnvironmentId, function: &str) -> Result<String, TargetError> {
        self.ask(Query::RunSchedule { id: id.clone(), function: function.to_owned() }).await
    }

    async fn pause_schedule(
        &self,
        id: &EnvironmentId,
        function: &str,
        paused: bool,
    ) -> Result<(), TargetError> {
        self.ask(Query::PauseSchedule { id: id.clone(), function: function.to_owned(), paused }).await
    }

    async fn logs(
        &self,
        id: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError> {
        let question = LogRequest { id: id.clone(), query: query.clone() };
        let lines = self.service().await?.lines::<LogResponse>(LOGS, &question).await?;
        // Nothing is read after the last line; a stream that ends without it was cut off.
        let records = stream::try_unfold(lines, |mut lines| async move {
            match lines.try_next().await? {
                Some(LogResponse::Line(record)) => Ok(Some((record, lines))),
                Some(LogResponse::Failed(error)) => Err(error),
                Some(LogResponse::End) => Ok(None),
                None => Err(broke_off()),
            }
        });
        Ok(records.boxed())
    }

    async fn costs(&self, id: &EnvironmentId, query: &CostQuery) -> Result<Costs, TargetError> {
        self.ask(Query::Costs { id: id.clone(), query: query.clone() }).await
    }

    async fn keys(&self, id: &EnvironmentId) -> Result<Vec<KeyEntry>, TargetError> {
        self.ask(Query::Keys { id: id.clone() }).await
    }

    async fn new_key(&self, id: &EnvironmentId, label: &str) -> Result<NewKey, TargetError> {
        self.ask(Query::NewKey { id: id.clone(), label: label.to_owned() }).await
    }

    async fn revoke_key(&self, id: &EnvironmentId, prefix: &str) -> Result<KeyEntry, TargetError> {
        self.ask(Query::RevokeKey { id: id.clone(), prefix: prefix.to_owned() }).await
    }

    async fn secrets(&self, id: &EnvironmentId) -> Result<Vec<SecretEntry>, TargetError> {
        self.ask(Query::Secrets { id: id.clone() }).await
    }

    async fn set_secret(
        &self,
        id: &EnvironmentId,
        name: &str,
        value: &SecretValue,
    ) -> Result<SecretEntry, TargetError> {
        self.ask(Query::SetSecret { id: id.clone(), name: name.to_owned(), value: value.clone() }).await
    }

    async fn remove_secret(&self, id: &EnvironmentId, name: &str) -> Result<(), TargetError> {
        self.ask(Query::RemoveSecret { id: id.clone(), name: name.to_owned() }).await
    }
}
