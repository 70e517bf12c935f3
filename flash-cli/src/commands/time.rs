//! Times as people write them in flags, and as they are shown in lines and rows.
use std::time::Duration;

use jiff::{
    SignedDuration, Span, SpanRelativeTo, Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use crate::exit::Failure;

/// Parses a time: how long ago, an instant, or a date with or without a time of day in `zone`.
///
/// # Errors
/// For any other text.
pub(super) fn parse(flag: &str, text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Failure> {
    let given = text.trim();
    let civil = |time: DateTime| time.to_zoned_datetime(zone.clone()).ok().map(|zoned| zoned.timestamp());
    ago(given, now)
        .or_else(|| given.parse::<Timestamp>().ok())
        // A date alone has no time of day.
        .or_else(|| {
            given.parse::<Date>().ok().filter(|_| given.len() == 10).and_then(|day| civil(day.into()))
        })
        .or_else(|| given.parse::<DateTime>().ok().and_then(civil))
        .ok_or_else(|| {
            Failure::unusable(format!(
                "`{flag} {text}` is not a valid time: write 90s, 10m, 2h or 3d, 2026-11-23T12:00:00Z, or \
                 2026-11-23 12:00"
            ))
        })
}

/// Like [`parse`] in UTC, in milliseconds since 1970; the time must be in the past.
///
/// # Errors
/// As for [`parse`], and for a time in the future.
pub(super) fn parse_past_ms(flag: &str, text: &str, now: Timestamp) -> Result<u64, Failure> {
    let time = parse(flag, text, now, &TimeZone::UTC)?;
    if time > now {
        return Err(Failure::unusable(format!("`{flag} {text}` is in the future")));
    }
    Ok(u64::try_from(time.as_millisecond()).unwrap_or(0))
}

/// The date of a time in milliseconds since 1970, in UTC.
pub(super) fn day(milliseconds: u64) -> String {
    let time = i64::try_from(milliseconds).ok().and_then(|time| Timestamp::from_millisecond(time).ok());
    time.map_or_else(
        || milliseconds.to_string(),
        |time| time.to_zoned_datetime(TimeZone::UTC).date().to_string(),
    )
}

fn ago(text: &str, now: Timestamp) -> Option<Timestamp> {
    now.checked_sub(duration(text)?).ok()
}

/// Without a sign.
fn duration(text: &str) -> Option<SignedDuration> {
    let is_plain = text.starts_with(|first: char| first.is_ascii_digit()) && text.is_ascii();
    let span = text.parse::<Span>().ok().filter(|_| is_plain)?.abs();
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

/// Parses how long something lasts: a second at least, and `longest` at most.
///
/// # Errors
/// For any other text.
pub(super) fn parse_duration(flag: &str, text: &str, longest: Duration) -> Result<Duration, Failure> {
    let time = duration(text.trim()).map(SignedDuration::unsigned_abs);
    time.filter(|time| (Duration::from_secs(1)..=longest).contains(time)).ok_or_else(|| {
        let days = longest.as_secs() / (24 * 3600);
        Failure::unusable(format!("`{flag} {text}` is not a time of 1s to {days}d: write 90s, 30m, 2h or 3d"))
    })
}

/// The time of a line: RFC 3339 with milliseconds and the offset of `zone`.
pub(super) fn shown(time_us: u64, zone: &TimeZone) -> String {
    let time = i64::try_from(time_us).ok().and_then(|time| Timestamp::from_microsecond(time).ok());
    let zoned = time.unwrap_or_default().to_zoned_datetime(zone.clone());
    match zoned.offset().is_zero() {
        true => zoned.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        false => zoned.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
    }
}

/// `2026-11-23 12:00:05`, in this machine's time zone.
pub(super) fn local_time(ms: u64) -> String {
    let timestamp = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(
        || "unknown".to_owned(),
        |time| time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// Microseconds since 1970.
pub(super) fn micros(time: Timestamp) -> u64 {
    u64::try_from(time.as_microsecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_lasts_is_read_within_its_bounds() {
        let read = |text| parse_duration("--for", text, Duration::from_secs(24 * 3600));
        assert_eq!(read("2h").unwrap(), Duration::from_secs(7200));
        assert_eq!(read("1d").unwrap(), Duration::from_secs(24 * 3600));
        for wrong in ["", "2", "-2h", "0s", "2d", "soon"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("is not a time of 1s to 1d"), "{wrong}: {error}");
        }
    }

    fn read(text: &str) -> Option<String> {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        parse("--since", text, now, &zone).ok().map(|time| time.to_string())
    }

    #[test]
    fn a_time_is_ago_or_an_instant_or_local() {
        let cases = [
            ("90s", "2026-11-23T11:58:30Z"),
            ("10m", "2026-11-23T11:50:00Z"),
            ("2h", "2026-11-23T10:00:00Z"),
            ("1h30m", "2026-11-23T10:30:00Z"),
            ("3d", "2026-11-20T12:00:00Z"),
            ("2026-11-23T09:00:00Z", "2026-11-23T09:00:00Z"),
            ("2026-11-23T09:00:00.5+01:00", "2026-11-23T08:00:00.5Z"),
            ("2026-11-23", "2026-11-22T22:00:00Z"),
            ("2026-11-23 09:00", "2026-11-23T07:00:00Z"),
            ("2026-11-23 09:00:30", "2026-11-23T07:00:30Z"),
        ];
        for (text, time) in cases {
            assert_eq!(read(text).as_deref(), Some(time), "{text}");
        }
        for wrong in ["", "soon", "10", "-10m", "2026-13-01", "2026-11-23 25:00", "1y"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_paid_is_asked_for_by_utc_and_not_ahead() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let of = |text| parse_past_ms("--since", text, now).map_err(|failure| failure.to_string());
        assert_eq!(of("2026-11-01"), Ok(1_793_491_200_000));
        assert_eq!(of("2026-11-01T00:00Z"), Ok(1_793_491_200_000));
        assert_eq!(of("24h").unwrap(), of("1d").unwrap());
        assert_eq!(day(1_793_491_200_000), "2026-11-01");
        assert!(of("2030-01-01").unwrap_err().contains("in the future"));
        for wrong in ["-10m", "24", "soon", ""] {
            assert!(of(wrong).unwrap_err().contains("is not a valid time"), "{wrong}");
        }
    }

    #[test]
    fn a_line_shows_its_time_with_milliseconds_and_its_zone() {
        let time = 1_764_000_000_123_456;
        assert_eq!(shown(time, &TimeZone::UTC), "2025-11-24T16:00:00.123Z");
        assert_eq!(shown(time, &TimeZone::fixed(jiff::tz::offset(-5))), "2025-11-24T11:00:00.123-05:00");
    }
}
