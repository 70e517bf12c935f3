//! The HTTP client of the exporter: ours, on the runtime of the process, which the exporter's own thread does not have.
use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use flash_text::error_chain;
use opentelemetry_http::{HttpClient, HttpError};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::settings::Settings;

/// Bytes of an answer that are read: a collector answers with a few.
const MAX_ANSWER: usize = 64 * 1024;

/// See the module.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    runtime: Handle,
    /// Why the last request failed, without its URL.
    problem: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

impl Client {
    pub(crate) fn new(settings: &Settings, runtime: Handle) -> Result<Self, String> {
        let mut http = flash_http::client().timeout(settings.timeout);
        if settings.is_on_this_machine {
            // A proxy elsewhere cannot reach it.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| error_chain(&error))?;
        Ok(Self { http, runtime, problem: Arc::default() })
    }

    /// Why the last request failed, if it did.
    pub(crate) fn take_problem(&self) -> Option<String> {
        self.problem.lock().take()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let sending = sent(self.http.clone(), request);
        let outcome = self.runtime.spawn(sending).await.map_err(|error| error.to_string()).flatten();
        *self.problem.lock() = match &outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answered {}", response.status())),
            Err(problem) => Some(problem.clone()),
        };
        outcome.map_err(HttpError::from)
    }
}

async fn sent(http: reqwest::Client, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, String> {
    let problem = |error: reqwest::Error| error_chain(&error.without_url());
    let request = reqwest::Request::try_from(request).map_err(problem)?;
    let mut response = http.execute(request).await.map_err(problem)?;
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(problem)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(format!("its answer is over {MAX_ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    let mut answer = http::Response::new(body.freeze());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = std::mem::take(response.headers_mut());
    Ok(answer)
}
