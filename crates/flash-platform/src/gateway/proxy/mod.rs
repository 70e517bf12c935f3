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
mod request_line;
mod upgrade;

pub(super) use forward::forward;

use std::time::Duration;

/// Limits of load-balanced endpoints, as the provider documents them: of a body, in each direction.
const MAX_BODY_BYTES: usize = 30_000_000;
/// How long a request waits for a worker, including a start from zero workers.
const HOLD: Duration = Duration::from_secs(120);
/// How long a request waits for one specific worker.
const STRICT_HOLD: Duration = Duration::from_secs(300);
/// The time limit from sending the request to the worker until the last byte of the answer.
const PROCESSING: Duration = Duration::from_secs(330);
/// Interim responses (1xx) before an answer. None is passed on.
const MAX_INTERIM: usize = 100;
