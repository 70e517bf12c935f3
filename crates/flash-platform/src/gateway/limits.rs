//! Limits on bodies of the queue API, as the provider documents them, and how limits are written.

/// Of the body of `run`.
pub(super) const MAX_RUN_BYTES: usize = 10_000_000;
/// Of the body of `runsync`.
pub(super) const MAX_RUNSYNC_BYTES: usize = 20_000_000;

/// A limit in bytes, for people: in MiB if it is a whole number of them, else in MB.
pub(super) fn shown(bytes: usize) -> String {
    const MIB: usize = 1024 * 1024;
    match bytes % MIB {
        0 => format!("{} MiB", bytes / MIB),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}
