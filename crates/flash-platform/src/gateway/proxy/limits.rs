//! Limits of load-balanced endpoints, as the provider documents them. Those that a worker type may set are in
//! `WorkerType`.
use std::time::Duration;

/// How long a request waits for one specific worker, unless one may take longer to start.
pub(super) const STRICT_HOLD: Duration = Duration::from_secs(300);
/// Interim responses (1xx) before an answer. None is passed on.
pub(super) const MAX_INTERIM: usize = 100;
