//! Requests to paths of a load-balanced endpoint.
use std::fmt;

use bytes::Bytes;
use flash_protocol::{Error, ErrorKind, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::{Endpoint, encoded, retry::Idempotency, send::Received};
use crate::call::http::trace_headers;

/// A request that has not been sent yet, created by [`Endpoint::request`].
#[must_use = "it is sent by `send`"]
pub struct Request {
    endpoint: Endpoint,
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    /// The body, or the first problem, which `send` reports.
    body: Result<Option<Bytes>>,
}

impl fmt::Debug for Request {
    /// Without headers, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("endpoint", &self.endpoint)
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Request {
    pub(super) fn new(endpoint: Endpoint, method: &str, path: &str) -> Self {
        Self {
            endpoint,
            method: method.to_ascii_uppercase(),
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Ok(None),
        }
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.query.push((name.into(), value.to_string()));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body, as JSON.
    pub fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Self {
        self.body = encoded(body).map(|text| Some(Bytes::from(text.get().to_owned())));
        self.header("content-type", "application/json")
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Ok(Some(Bytes::from(body.into())));
        self
    }

    /// Sends the request. An error status is not an error here.
    ///
    /// # Errors
    /// If there is no answer, or the request is not valid.
    pub async fn send(self) -> Result<Answer> {
        let Self { endpoint, method, path, query, headers, body } = self;
        let body = body?;
        let name = reqwest::Method::from_bytes(method.as_bytes())
            .map_err(|_| Error::new(ErrorKind::Encode, format!("`{method}` is not an HTTP method")))?;
        let mut envelope = endpoint.envelope()?;
        envelope.function = None;
        // Only methods that read are repeated. By HTTP, `PUT` and `DELETE` are idempotent too, but a handler may not
        // be.
        let idempotency = match method.as_str() {
            "GET" | "HEAD" | "OPTIONS" => Idempotency::Idempotent,
            _ => Idempotency::NotIdempotent,
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("{}{slash}{path}", endpoint.address.routes);
        let make = || {
            let mut request = endpoint.client.request(name.clone(), url.clone());
            if !query.is_empty() {
                request = request.query(&query);
            }
            for (name, value) in trace_headers(&envelope) {
                request = request.header(name, value);
            }
            for (name, value) in &headers {
                request = request.header(name, value);
            }
            match &body {
                Some(body) => request.body(body.clone()),
                None => request,
            }
        };
        let received = endpoint.send(idempotency, endpoint.timeout.unwrap_or(super::WAIT), make).await;
        let received = received.map_err(|error| endpoint.located(error, &envelope))?;
        Ok(Answer(received))
    }
}

/// The answer of a route.
pub struct Answer(Received);

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.0.status).finish_non_exhaustive()
    }
}

impl Answer {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// A header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers.get(name)?.to_str().ok()
    }

    /// The body.
    pub fn bytes(&self) -> &[u8] {
        &self.0.body
    }

    /// The body of a successful answer, decoded as `O`.
    ///
    /// # Errors
    /// The error of an unsuccessful answer; [`ErrorKind::Decode`] if the body is not an `O`.
    pub fn json<O: DeserializeOwned>(&self) -> Result<O> {
        self.0.json()
    }
}
