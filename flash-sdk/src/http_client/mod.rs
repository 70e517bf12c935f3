//! HTTP requests of an app: clients with the key, which requests are sent again, and how answers are read.
//!
//! It knows no API. `queue_client` speaks the queue API; `call` and `endpoint` send requests to routes.
mod client;
mod send;
mod url;

pub(crate) use client::{HttpClient, http_client};
pub(crate) use send::{Attempt, Received, attempt, received, send, transport};
pub(crate) use url::escaped;
