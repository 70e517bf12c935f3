//! The client of Runpod's queue API: submits jobs, waits for their end, reads their chunks, cancels and retries them.
//!
//! `call` uses it for functions of this app that are reached over HTTP, `endpoint` for any endpoint. They decide which
//! endpoint and what is sent. When a request is sent again is decided in `flash_protocol::wire::retry`.
mod client;
mod job;

pub(crate) use client::{LONGEST_HOLD, QueueClient, RetryPolicy, Submission};
pub(crate) use job::RemoteJob;
