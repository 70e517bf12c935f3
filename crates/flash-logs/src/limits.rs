//! Limits of what is kept.
use std::time::Duration;

/// The limits of a log. The oldest segments are deleted first, regardless of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// A new segment starts after this many bytes.
    pub segment_bytes: u64,
    /// All segments together; the newest stays however large it is.
    pub total_bytes: u64,
    /// The maximum age of a segment's last line.
    pub age: Duration,
    /// Limit for lines that wait for the disk. Beyond it, callers wait for a moment.
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
