//! Sends requests, again where that is safe, and reads the answers.
use std::time::Duration;

use bytes::Bytes;
use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{
        refusal,
        retry::{self, FailureKind, Idempotency},
    },
};
use http::HeaderMap;
use serde::de::DeserializeOwned;

use crate::jitter::jitter;

/// A complete answer.
pub(crate) struct Received {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    /// Its body.
    ///
    /// # Errors
    /// If the answer is not successful, or the body has another shape.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T> {
        self.success()?;
        serde_json::from_slice(&self.body).map_err(|error| {
            Error::new(
                ErrorKind::Decode,
                format!("could not parse the endpoint's answer: {}", flash_protocol::wire::fault(&error)),
            )
        })
    }

    /// Whether its status is one of success.
    ///
    /// # Errors
    /// What the server says went wrong, with the request's ID.
    pub(crate) fn success(&self) -> Result<()> {
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
        let asked = self.headers.get("retry-after").and_then(|wish| retry::retry_after(wish.to_str().ok()?));
        FailureKind::of_status(self.status, asked)
    }
}

/// What came of sending a request once.
pub(crate) enum Attempt {
    /// The end: an answer with any status, or no answer.
    Ended(Result<Received>),
    /// It failed and may be sent again after this pause.
    Again(Duration),
}

/// Sends a request once. `tried` counts the failures in a row, from 1 for the first attempt.
pub(crate) async fn attempt(
    request: reqwest::RequestBuilder,
    idempotency: Idempotency,
    tried: u32,
    retries: u32,
) -> Attempt {
    let outcome = receive(request).await;
    let failure = match &outcome {
        Ok(received) => received.failure(),
        Err(error) if error.is_connect() => Some(FailureKind::Unsent),
        Err(_) => Some(FailureKind::Broken),
    };
    let pause = failure.and_then(|failure| retry::pause(failure, idempotency, tried, retries, jitter()));
    match pause {
        Some(pause) => Attempt::Again(pause),
        None => Attempt::Ended(outcome.map_err(transport)),
    }
}

/// Sends what `request` creates until there is an answer or no attempt is left. Returns the last answer, whatever its
/// status.
pub(crate) async fn send(
    idempotency: Idempotency,
    retries: u32,
    request: impl Fn() -> reqwest::RequestBuilder,
) -> Result<Received> {
    for tried in 1.. {
        match attempt(request(), idempotency, tried, retries).await {
            Attempt::Ended(outcome) => return outcome,
            Attempt::Again(pause) => tokio::time::sleep(pause).await,
        }
    }
    Err(Error::new(ErrorKind::Transport, "no try is left"))
}

/// Sends a request once.
///
/// # Errors
/// If there is no answer.
pub(crate) async fn received(request: reqwest::RequestBuilder) -> Result<Received> {
    receive(request).await.map_err(transport)
}

async fn receive(request: reqwest::RequestBuilder) -> Result<Received, reqwest::Error> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Received { status, headers, body: response.bytes().await? })
}

/// The error of a request without an answer.
pub(crate) fn transport(error: reqwest::Error) -> Error {
    let kind = if error.is_timeout() { ErrorKind::Timeout } else { ErrorKind::Transport };
    // The URL may contain a key in some setups, so it is left out.
    let error = Error::from(error.without_url());
    let mut wire = error.into_wire();
    wire.kind = kind;
    wire.into()
}
