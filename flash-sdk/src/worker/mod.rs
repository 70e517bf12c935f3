//! The worker runtime: what an app binary does when a platform starts it.
//!
//! It chooses the role of the process and runs a worker: initialise, take work, drain, exit. `job` chooses the
//! function to run. Work arrives through `queue` (Runpod's protocol), `exchange` (the faster one of the Flash
//! platform) or `http` (load-balanced workers). In a pod, the first process has the role `pod` and starts the worker.
mod exchange;
mod framed_requests;
mod health;
mod heartbeat;
mod http;
mod job;
mod lifecycles;
mod log;
mod measured;
mod output_marks;
mod pod;
mod processor;
mod queue;
mod replay;
mod reports;
mod requests;
mod role;
mod sent_events;
mod settings;
mod shutdown;
mod upgrade;
#[cfg(feature = "openai")]
mod watched_models;

pub use role::{AppInfo, IntoExit, main};
