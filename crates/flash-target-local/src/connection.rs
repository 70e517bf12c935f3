//! HTTP to the background service, whether it runs or not.
//!
//! Knows the requests of `wire` and how they fail. Which ones are made, and when the service is started, is up to
//! `client` and `process`.
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use flash_target::{OnStep, Problem, ReleaseRecord, TargetError};
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    directory::DataDirectory,
    socket::SocketPath,
    wire::{ASK, ChangeRequest, HELLO, Hello, ORDER, Progress, Query, ServiceStatus},
};

/// How long a running service may take to answer.
const HELLO_TIME: Duration = Duration::from_secs(10);

/// HTTP to the service.
#[derive(Clone)]
pub(super) struct Connection {
    client: reqwest::Client,
    /// The file where the service writes the key to its socket at each start; `None` where it asks for none.
    key: Option<PathBuf>,
    /// Keeps the path to the socket valid.
    _socket: Option<Arc<SocketPath>>,
}

fn unreachable() -> TargetError {
    TargetError::new(Problem::Unreachable, "cannot reach the background service")
}

fn client(socket: &Path) -> Result<reqwest::Client, TargetError> {
    let client = flash_http::client().unix_socket(socket).no_proxy().build();
    client.map_err(|error| unreachable().because(error))
}

impl Connection {
    /// A client for the service of this directory, whether it runs or not.
    pub(super) fn new(directory: &DataDirectory) -> Result<Self, TargetError> {
        let socket = SocketPath::new(directory).map_err(|error| unreachable().because(error))?;
        let client = client(socket.path())?;
        Ok(Self { client, key: Some(directory.control_key()), _socket: Some(Arc::new(socket)) })
    }

    /// A client for a service elsewhere, to which this socket leads.
    pub(super) fn forwarded(socket: &Path) -> Result<Self, TargetError> {
        Ok(Self { client: client(socket)?, key: None, _socket: None })
    }

    /// The service that answers; `None` if none does.
    pub(super) async fn hello(&self) -> Result<Option<Hello>, TargetError> {
        let request = self.client.get(url(HELLO)).timeout(HELLO_TIME);
        match request.send().await {
            Ok(response) => response.json().await.map(Some).map_err(broken),
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
        let key = match &self.key {
            Some(file) => tokio::fs::read_to_string(file).await.unwrap_or_default(),
            None => String::new(),
        };
        let request = self.client.post(url(path)).bearer_auth(key).json(body);
        let response = request.send().await.map_err(broken)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let text = response.text().await.map_err(broken)?;
        Err(serde_json::from_str(&text).unwrap_or_else(|_| {
            TargetError::new(
                Problem::Failed,
                format!("the background service rejected the request: {status} {text}"),
            )
        }))
    }

    /// Asks a question.
    pub(super) async fn ask<T: DeserializeOwned>(&self, question: &Query) -> Result<T, TargetError> {
        self.post(ASK, question).await?.json().await.map_err(broken)
    }

    /// An answer with one JSON value per line.
    pub(super) async fn lines<T: DeserializeOwned + Send + 'static>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<BoxStream<'static, Result<T, TargetError>>, TargetError> {
        let response = self.post(path, body).await?;
        let chunks = response.bytes_stream().map_err(broken).boxed();
        let lines = stream::try_unfold((chunks, BytesMut::new()), |(mut chunks, mut text)| async move {
            loop {
                if let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line = text.split_to(end + 1);
                    let item: T = serde_json::from_slice(&line).map_err(broken)?;
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

    /// Asks for a change, and follows it to its end.
    pub(super) async fn order(
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

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> TargetError {
    TargetError::new(Problem::Unreachable, "the connection to the background service broke")
        .because(error)
        .hint("check it: flash service status")
}

/// The error when an answer ends before it is complete.
pub(super) fn broke_off() -> TargetError {
    TargetError::new(Problem::Unreachable, "the background service stopped during the request")
        .hint("see the result: flash deploy history ENV; check the service: flash service status")
}
