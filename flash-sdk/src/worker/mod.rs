//! The worker runtime: what an app binary does when a platform starts it.
//!
//! Owns the process's role and the life of a worker: initialise, take work, drain, exit. Which function
//! runs is `job`'s business; how work arrives is that of `queue` (Runpod's protocol), `exchange` (our
//! platform's faster one) and `http` (load-balanced workers).
mod exchange;
mod heartbeat;
mod http;
mod job;
mod log;
mod queue;
mod requests;
mod role;
mod settings;
mod shutdown;

pub use role::{AppInfo, IntoExit, main};
