//! How times are written.
use jiff::Timestamp;

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
