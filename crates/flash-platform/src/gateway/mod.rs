//! The gateway: turns HTTP requests into jobs and proxied requests.
//!
//! It contains routing, input checks, error bodies and the API pages. What an app's paths and inputs are is in
//! `interface`, jobs are in the queue, workers in the pool. Every error is JSON with `error`, `kind` and `request_id`.
//! No input causes a panic. 5xx is for failing functions, workers and stores, and for a platform that is not up or is
//! stopping.
//!
//! `server` sends each request to its handler: `queue_api` lists those of `client_api`, `worker_api` and `exchange`;
//! `functions` has the app's own paths, from where `proxy` forwards them, and `openai` those of OpenAI's API; `docs` and `costs` are the platform's pages,
//! and `dashboard` is the one for browsers.
//! `state` is what handlers need of the platform.
mod access;
mod access_control;
mod attempts;
mod body;
mod client_api;
mod coding;
mod costs;
mod dashboard;
mod dashboard_state;
mod docs;
mod error;
mod exchange;
mod extract;
mod framing;
mod functions;
mod hosts;
mod input;
mod keys;
mod limits;
mod metrics;
mod nesting;
mod openai;
mod opened_by;
mod pod;
mod proxy;
mod queue_api;
mod readable;
mod request_id;
mod request_key;
mod respond;
mod server;
mod state;
mod streamed_call;
mod submission;
mod worker_api;
mod worker_key;

pub(crate) use dashboard_state::Dashboard;
pub use dashboard_state::{DailyCost, DailyCosts, DashboardOptions, ReleaseHistory, Rollback};
pub use hosts::AllowedHosts;
pub use keys::{Access, ApiKey, KeyHash, KeyRing};
pub(crate) use server::serve;
pub(crate) use state::GatewayState;
