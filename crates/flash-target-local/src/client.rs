//! Sends requests to the background service, and starts it if it is not running.
use std::{path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::BytesMut;
use flash_target::{
    CostQuery, Costs, Created, Environment, EnvironmentId, KeyEntry, LogQuery, LogRecord, NewEnvironment,
    NewKey, OnStep, Problem, ReleaseRecord, ReleaseSpec, SecretEntry, SecretValue, Shipment, Status, Step,
    Target, TargetError, TargetKind,
};
use flash_text::error_chain;
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    artifact,
    directory::DataDirectory,
    process,
    socket::SocketPath,
    wire::{
        ASK, ChangeRequest, HELLO, Hello, LOGS, LogRequest, LogResponse, ORDER, Progress, Query,
        ServiceStatus,
    },
};

/// How long a running service may take to answer.
const HELLO_TIME: Duration = Duration::from_secs(10);

/// The background service on this machine, as commands see it.
pub struct LocalTarget {
    directory: DataDirectory,
    connection: Connection,
}

/// HTTP to the service.
#[derive(Clone)]
pub(super) struct Connection {
    client: reqwest::Client,
    /// The file where the service writes the key to its socket at each start.
    key: PathBuf,
    /// Keeps the path to the socket valid.
    _socket: Arc<SocketPath>,
}

impl Connection {
    /// A client for the service of this directory, whether it runs or not.
    pub(super) fn new(directory: &DataDirectory) -> Result<Self, TargetError> {
        let problem = |reason: String| {
            TargetError::new(Problem::Unreachable, format!("cannot reach the background service: {reason}"))
        };
        // rustls needs a crypto provider, even when nothing is encrypted; it does not matter who installs one
        // first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let socket = SocketPath::new(directory).map_err(|error| problem(error.to_string()))?;
        let client = reqwest::Client::builder()
            .unix_socket(socket.path())
            .no_proxy()
            .build()
            .map_err(|error| problem(error_chain(&error)))?;
        Ok(Self { client, key: directory.control_key(), _socket: Arc::new(socket) })
    }

    /// The service that answers; `None` if none does.
    pub(super) async fn hello(&self) -> Result<Option<Hello>, TargetError> {
        let request = self.client.get(url(HELLO)).timeout(HELLO_TIME);
        match request.send().await {
            Ok(response) => response.json().await.map(Some).map_err(|error| broken(&error)),
            Err(error) if error.is_connect() => Ok(None),
            Err(error) if error.is_timeout() => Err(TargetError::new(
                Problem::Unreachable,
                format!("the background service does not answer within {} s", HELLO_TIME.as_secs()),
            )
            .hint("restart it: flash service restart")),
            // It stopped during the request.
            Err(_) => Ok(None),
        }
    }

    /// The service and its environments.
    pub(super) async fn service(&self) -> Result<ServiceStatus, TargetError> {
        self.ask(&Query::Service).await
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<reqwest::Response, TargetError> {
        // Without a key, the service reports the problem.
        let key = tokio::fs::read_to_string(&self.key).await.unwrap_or_default();
        let request = self.client.post(url(path)).bearer_auth(key).json(body);
        let response = request.send().await.map_err(|error| broken(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.map_err(|error| broken(&error))?;
        Err(serde_json::from_str(&text).unwrap_or_else(|_| {
            TargetError::new(
                Problem::Failed,
                format!("the background service rejected the request: {status} {text}"),
            )
        }))
    }

    async fn ask<T: DeserializeOwned>(&self, question: &Query) -> Result<T, TargetError> {
        self.post(ASK, question).await?.json().await.map_err(|error| broken(&error))
    }

    /// An answer with one JSON value per line.
    async fn lines<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<BoxStream<'static, Result<T, TargetError>>, TargetError> {
        let response = self.post(path, body).await?;
        let chunks = response.bytes_stream().map_err(|error| broken(&error)).boxed();
        let lines = stream::try_unfold((chunks, BytesMut::new()), |(mut chunks, mut text)| async move {
            loop {
                if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line = text.split_to(end + 1);
                    let item: T = serde_json::from_slice(&line).map_err(|error| broken(&error))?;
                    return Ok(Some((item, (chunks, text))));
                }
                match chunks.try_next().await? {
                    Some(chunk) => text.extend_from_slice(&chunk),
                    None => return Ok(None),
                }
            }
        });
        Ok(lines.boxed())
    }

    async fn order(
        &self,
        order: &ChangeRequest,
        on_step: OnStep<'_>,
    ) -> Result<Option<ReleaseRecord>, TargetError> {
        let mut lines = self.lines::<Progress>(ORDER, order).await?;
        while let Some(progress) = lines.next().await {
            match progress? {
                Progress::Step(step) => on_step(step),
                Progress::Done(record) => return Ok(record),
                Progress::Failed(error) => return Err(error),
            }
        }
        Err(broke_off())
    }
}

/// The host is not resolved: the connection always goes to the socket.
fn url(path: &str) -> String {
    format!("http://flash{path}")
}

fn broken(error: &(dyn std::error::Error + 'static)) -> TargetError {
    let reason = error_chain(error);
    TargetError::new(
        Problem::Unreachable,
        format!("the connection to the background service broke: {reason}"),
    )
    .hint("check it: flash service status")
}

fn broke_off() -> TargetError {
    TargetError::new(Problem::Unreachable, "the background service stopped during the request")
        .hint("see the result: flash deploy history ENV; check the service: flash service status")
}

impl LocalTarget {
    /// Finds the service, and starts it if it is not running.
    ///
    /// # Errors
    /// When it does not start, or has another version and has work.
    pub async fn connect() -> Result<Self, TargetError> {
        let directory = DataDirectory::of_user()?;
        process::ensure(&directory).await?;
        let connection = Connection::new(&directory)?;
        Ok(Self { directory, connection })
    }

    async fn ask<T: DeserializeOwned>(&self, question: Query) -> Result<T, TargetError> {
        self.connection.ask(&question).await
    }

    /// Copies the files of a build to the service's directory.
    async fn stage(
        &self,
        id: &EnvironmentId,
        shipment: &Shipment,
        on_step: &mut (dyn FnMut(Step) + Send),
    ) -> Result<(), TargetError> {
        // Checked by the service first: a typo must not create a directory.
        self.environment(id).await?;
        let directory = self.directory.environment(id);
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

#[async_trait]
impl Target for LocalTarget {
    fn kind(&self) -> TargetKind {
        TargetKind::Local
    }

    async fn create(&self, new: &NewEnvironment) -> Result<Created, TargetError> {
        self.ask(Query::Create(new.clone())).await
    }

    async fn environments(&self) -> Result<Vec<Environment>, TargetError> {
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
        self.connection.order(&order, on_step).await?.ok_or_else(broke_off)
    }

    async fn rollback(
        &self,
        id: &EnvironmentId,
        to: Option<u64>,
        on_step: OnStep<'_>,
    ) -> Result<ReleaseRecord, TargetError> {
        let order = ChangeRequest::Rollback { id: id.clone(), to };
        self.connection.order(&order, on_step).await?.ok_or_else(broke_off)
    }

    async fn undeploy(
        &self,
        id: &EnvironmentId,
        worker: Option<&str>,
        on_step: OnStep<'_>,
    ) -> Result<Option<ReleaseRecord>, TargetError> {
        let order = ChangeRequest::Undeploy { id: id.clone(), worker: worker.map(str::to_owned) };
        self.connection.order(&order, on_step).await
    }

    async fn remove(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        self.ask(Query::Remove { id: id.clone() }).await
    }

    async fn status(&self, id: &EnvironmentId) -> Result<Status, TargetError> {
        self.ask(Query::Status { id: id.clone() }).await
    }

    async fn logs(
        &self,
        id: &EnvironmentId,
        query: &LogQuery,
    ) -> Result<BoxStream<'static, Result<LogRecord, TargetError>>, TargetError> {
        let question = LogRequest { id: id.clone(), query: query.clone() };
        let lines = self.connection.lines::<LogResponse>(LOGS, &question).await?;
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
