//! The gateway: turns HTTP requests into jobs and proxied requests.
//!
//! It contains routing, input checks, error bodies and the API pages. What an app's paths and inputs are is in
//! `interface`, jobs are in the queue, workers in the pool.
//! Every error is JSON with `error`, `kind` and `request_id`. No input causes a panic. 5xx is for failing functions,
//! workers and stores, and for a platform that is not up or is stopping.
mod access;
mod attempts;
mod client_api;
mod coding;
mod costs;
mod docs;
mod error;
mod exchange;
mod framing;
mod functions;
mod hosts;
mod keys;
mod nesting;
mod proxy;
mod request_key;
mod server;
mod worker_api;

pub(crate) use access::AccessControl;
pub use hosts::AllowedHosts;
pub use keys::{Access, ApiKey, KeyHash, KeyRing};
pub(crate) use server::serve;
