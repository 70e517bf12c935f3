//! A client for any endpoint, by ID or URL: of a Flash app, or any other on Runpod.
//!
//! You do not need it for functions of your own app: call them by name. To accept any answer, decode it as
//! `serde_json::Value`.
mod address;
mod client;
mod health;
mod job;
mod keys;
mod options;
mod request;

pub use client::Endpoint;
pub use health::{Health, JobCounts, WorkerCounts};
pub use job::Job;
pub use options::JobOptions;
pub use request::{Answer, Request};
