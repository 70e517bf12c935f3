//! The door: HTTP in, jobs and proxied requests out.
//!
//! Owns routing, input checks, error bodies and the API pages. Jobs are the queue's, workers the pool's.
//! Every refusal is JSON with `error`, `kind` and `request_id`; no input makes it panic, and 5xx is
//! for functions, workers and stores that fail, and for a platform that is not up or stops.
mod access;
mod attempts;
mod client_api;
mod coding;
mod costs;
mod docs;
mod echo;
mod error;
mod exchange;
mod framing;
mod functions;
mod hosts;
mod keys;
mod nesting;
pub(crate) mod openapi;
mod presented;
mod proxy;
mod routes;
mod schemas;
mod server;
mod worker_api;

pub(crate) use access::Door;
pub(crate) use echo::nearest;
pub(crate) use hosts::AllowedHosts;
pub(crate) use keys::{Access, ApiKey, KeyHash, KeyRing};
pub(crate) use routes::RouteTable;
pub(crate) use schemas::InputSchemas;
pub(crate) use server::serve;
