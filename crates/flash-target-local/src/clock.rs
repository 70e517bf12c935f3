//! The current time, and how it is written.
use std::time::SystemTime;

use jiff::Timestamp;

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// For example `2026-11-23 12:00:05 UTC`.
pub fn utc(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    // Times without a zone are written in UTC.
    time.unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_full() {
        assert_eq!(utc(1_795_435_205_123), "2026-11-23 12:00:05 UTC");
    }
}
