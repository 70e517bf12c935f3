//! Limits of what is kept.
use std::time::Duration;

/// What is kept of a log. The oldest segments go first, whatever worker their lines are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogLimits {
    /// A segment that has reached this many bytes is followed by a new one.
    pub segment_bytes: u64,
    /// All segments together; the newest stays however large it is.
    pub total_bytes: u64,
    /// Since the last line of a segment.
    pub age: Duration,
    /// Lines that wait for the disk. Beyond it whoever says one waits a moment.
    pub waiting_bytes: usize,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            total_bytes: 1 << 30,
            age: Duration::from_secs(14 * 24 * 3600),
            // As much again is with the writer.
            waiting_bytes: 32 << 20,
        }
    }
}
