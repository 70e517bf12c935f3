//! Requests to load-balanced workers: the bytes go through in both directions as they come.
//!
//! Owns the way of one request (`forward`), its body and that of the answer (`body`), which worker it asks
//! for (`affinity`), what the worker is told of the client (`forwarded`), connections that change their
//! protocol (`upgrade`), what a client hears when it fails (`failure`) and its line in the log
//! (`request_line`). Which worker is next is the balancer's, how many there are the pool's.
//!
//! A slot is held until the last byte of the answer, or until an upgraded connection ends. Every way out
//! drops it: an answer, a failure, a client that goes away.
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
/// A request waits for a worker this long, from zero workers too.
const HOLD: Duration = Duration::from_secs(120);
/// A request that wants one worker only waits for it this long.
const STRICT_HOLD: Duration = Duration::from_secs(300);
/// From the moment that a worker has the request until the last byte of the answer.
const PROCESSING: Duration = Duration::from_secs(330);
/// Interim responses (1xx) before an answer. None is passed on.
const MAX_INTERIM: usize = 100;
