//! Proxies requests to load-balanced workers, streaming bytes in both directions.
//!
//! `forward` handles one request, `body` the bodies of request and answer, `affinity` the requested worker,
//! `forwarded` the headers about the client, `upgrade` connections that switch protocols, `failure` the answer after
//! a failure, and `request_line` the log line. The balancer chooses the worker, and the pool decides how many there
//! are.
//!
//! A slot is held until the last byte of the answer, or until an upgraded connection ends. It is released in all
//! cases: an answer, a failure, or a client that disconnects.
mod affinity;
mod body;
mod failure;
mod forward;
mod forwarded;
mod limits;
mod outgoing;
mod request_line;
mod upgrade;
mod worker_answer;

pub(super) use forward::{Callee, to_worker_type};
