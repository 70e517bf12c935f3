//! Limits of load-balanced endpoints, as the provider documents them.
use std::time::Duration;

/// Of a body, in each direction.
pub(super) const MAX_BODY_BYTES: usize = 30_000_000;
/// How long a request waits for a worker, including a start from zero workers.
pub(super) const HOLD: Duration = Duration::from_secs(120);
/// How long a request waits for one specific worker.
pub(super) const STRICT_HOLD: Duration = Duration::from_secs(300);
/// The time limit from sending the request to the worker until the last byte of the answer.
pub(super) const PROCESSING: Duration = Duration::from_secs(330);
/// Interim responses (1xx) before an answer. None is passed on.
pub(super) const MAX_INTERIM: usize = 100;
