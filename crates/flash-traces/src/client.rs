//! The HTTP client of the exporter: ours, on the runtime of the process, which the exporter's own thread does not have.
//!
//! The exporter speaks OTLP over HTTP. Where the collector wants gRPC, [`grpc`] says the same in that.
use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use flash_text::error_chain;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use opentelemetry_http::{HttpClient, HttpError};
use parking_lot::Mutex;
use tokio::runtime::Handle;

use crate::{
    grpc,
    settings::{Protocol, Settings},
};

/// Bytes of an answer that are read: a collector answers with a few.
const MAX_ANSWER: usize = 64 * 1024;

/// See the module.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    protocol: Protocol,
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
        if settings.protocol == Protocol::Grpc {
            http = http.http2_prior_knowledge();
        }
        let http = http.build().map_err(|error| error_chain(&error))?;
        Ok(Self { http, protocol: settings.protocol, runtime, problem: Arc::default() })
    }

    /// Why the last request failed, if it did.
    pub(crate) fn take_problem(&self) -> Option<String> {
        self.problem.lock().take()
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>, HttpError> {
        let (http, protocol) = (self.http.clone(), self.protocol);
        let sending = async move {
            match protocol {
                Protocol::HttpProtobuf => sent(http, request).await,
                Protocol::Grpc => called(http, request).await,
            }
        };
        let outcome = self.runtime.spawn(sending).await.map_err(|error| error.to_string()).flatten();
        let Sent { response, problem } = match outcome {
            Ok(sent) => sent,
            Err(problem) => {
                *self.problem.lock() = Some(problem.clone());
                return Err(problem.into());
            }
        };
        *self.problem.lock() = problem;
        Ok(response)
    }
}

/// An answer, and why it does not take the spans if it does not.
struct Sent {
    response: http::Response<Bytes>,
    problem: Option<String>,
}

async fn sent(http: reqwest::Client, request: http::Request<Bytes>) -> Result<Sent, String> {
    let (response, _) = answered(&http, request).await?;
    let status = response.status();
    let problem = (!status.is_success()).then(|| format!("it answered {status}"));
    Ok(Sent { response, problem })
}

async fn called(http: reqwest::Client, request: http::Request<Bytes>) -> Result<Sent, String> {
    let (answer, trailers) = answered(&http, grpc::call(request)?).await?;
    let taken = grpc::message(answer.status(), answer.headers(), trailers.as_ref(), answer.body());
    let mut response = http::Response::new(Bytes::new());
    let problem = match taken {
        Ok(message) => {
            *response.body_mut() = message;
            None
        }
        Err(refusal) => {
            *response.status_mut() = refusal.status;
            Some(refusal.text)
        }
    };
    Ok(Sent { response, problem })
}

/// The whole answer, with its trailers.
async fn answered(
    http: &reqwest::Client,
    request: http::Request<Bytes>,
) -> Result<(http::Response<Bytes>, Option<HeaderMap>), String> {
    let problem = |error: reqwest::Error| error_chain(&error.without_url());
    let request = reqwest::Request::try_from(request).map_err(problem)?;
    let response = http.execute(request).await.map_err(problem)?;
    let (parts, mut answer) = http::Response::<reqwest::Body>::from(response).into_parts();
    let (mut body, mut trailers) = (BytesMut::new(), None);
    while let Some(frame) = answer.frame().await {
        match frame.map_err(problem)?.into_data() {
            Ok(data) if body.len() + data.len() > MAX_ANSWER => {
                return Err(format!("its answer is over {MAX_ANSWER} bytes"));
            }
            Ok(data) => body.extend_from_slice(&data),
            Err(other) => trailers = other.into_trailers().ok(),
        }
    }
    Ok((http::Response::from_parts(parts, body.freeze()), trailers))
}
