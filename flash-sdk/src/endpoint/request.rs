//! Requests to paths of a load-balanced endpoint.
use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use flash_protocol::{
    Error, ErrorKind, Result,
    wire::{identity::RequestId, retry::Idempotency},
};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    context::Context,
    http_client::{HttpClient, Received, send},
    json,
    located::located,
};

/// Where a request is sent, and how often.
pub(super) struct Target {
    pub http: Arc<HttpClient>,
    /// The URL that the path is appended to.
    pub url: String,
    pub retries: u32,
    /// How long one request may take.
    pub limit: Duration,
    /// What a refused call is named.
    pub name: String,
    /// What errors name.
    pub stage: String,
}

/// A request that has not been sent yet, created by [`Endpoint::request`](super::Endpoint::request).
#[must_use = "it is sent by `send`"]
pub struct Request {
    target: Target,
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
            .field("url", &self.target.url)
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Request {
    pub(super) fn new(target: Target, method: &str, path: &str) -> Self {
        Self {
            target,
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
        self.body = json::encode(body, "the input", 0).map(|text| Some(Bytes::from(text.get().to_owned())));
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
        let Self { target, method, path, query, headers, body } = self;
        let body = body?;
        let name = reqwest::Method::from_bytes(method.as_bytes())
            .map_err(|_| Error::new(ErrorKind::Encode, format!("`{method}` is not an HTTP method")))?;
        let mut envelope = Context::envelope_for(Context::current().as_ref(), target.name)?;
        envelope.function = None;
        envelope.request_id.get_or_insert_with(RequestId::random);
        // Only methods that read are repeated. By HTTP, `PUT` and `DELETE` are idempotent too, but a handler may not
        // be.
        let idempotency = match method.as_str() {
            "GET" | "HEAD" | "OPTIONS" => Idempotency::Idempotent,
            _ => Idempotency::NotIdempotent,
        };
        let slash = if path.starts_with('/') { "" } else { "/" };
        let url = format!("{}{slash}{path}", target.url);
        let make = || {
            let mut request = target.http.request(name.clone(), url.clone()).timeout(target.limit);
            if !query.is_empty() {
                request = request.query(&query);
            }
            for (name, value) in envelope.trace_headers() {
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
        let received = send(idempotency, target.retries, make).await;
        let received = received.map_err(|error| located(error, target.stage, envelope.request_id))?;
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
