//! Sends requests, retries where that is safe, and reads the answers.
use std::time::Duration;

use bytes::Bytes;
use flash_protocol::{Error, ErrorKind, Result, wire::refusal};
use http::HeaderMap;
use serde::de::DeserializeOwned;

use super::{
    Endpoint,
    retry::{self, FailureKind, Idempotency},
};
use crate::call::http::transport;

/// A complete answer.
pub(super) struct Received {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// Its body.
    ///
    /// # Errors
    /// If the answer is not successful, or the body has another shape.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        self.success()?;
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::new(
                ErrorKind::Decode,
                format!("could not parse the endpoint's answer: {}", flash_protocol::wire::fault(&error)),
            )
        })
    }

    pub(super) fn success(&self) -> Result<()> {
        if (200..300).contains(&self.status) {
            return Ok(());
        }
        let mut error = refusal(self.status, &self.body);
        if let (None, Some(id)) = (&error.request_id, self.headers.get("x-request-id")) {
            error.request_id = id.to_str().ok().map(str::to_owned);
        }
        Err(error.into())
    }

    fn failure(&self) -> Option<FailureKind> {
        let wish =
            || self.headers.get("retry-after").and_then(|wish| retry::retry_after(wish.to_str().ok()?));
        (self.status >= 400).then(|| FailureKind::Refused { status: self.status, retry_after: wish() })
    }
}

impl Endpoint {
    /// Sends what `request` creates until there is an answer or no attempt is left. Returns the last answer, whatever
    /// its status.
    pub(super) async fn send(
        &self,
        idempotency: Idempotency,
        limit: Duration,
        request: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<Received> {
        for tried in 1.. {
            let outcome = receive(request().timeout(limit)).await;
            let failure = match &outcome {
                Ok(received) => received.failure(),
                Err(error) if error.is_connect() => Some(FailureKind::Unsent),
                Err(_) => Some(FailureKind::Broken),
            };
            let pause =
                failure.and_then(|failure| retry::pause(failure, idempotency, tried, self.retries, jitter()));
            match pause {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return outcome.map_err(transport),
            }
        }
        Err(Error::new(ErrorKind::Transport, "no try is left"))
    }
}

async fn receive(request: reqwest::RequestBuilder) -> Result<Received, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Received { status, headers, body: response.bytes().await? })
}

/// A random number from 0 to 1.
fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
