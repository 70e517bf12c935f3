//! Limits on bodies of the queue API, as the provider documents them.

/// Of the body of `run`.
pub(super) const MAX_RUN_BYTES: usize = 10_000_000;
/// Of the body of `runsync`.
pub(super) const MAX_RUNSYNC_BYTES: usize = 20_000_000;
