//! Times as people write them: how long ago, or when.
use jiff::{Span, Timestamp, tz::TimeZone};

/// The moment that is meant, in milliseconds since 1970.
///
/// # Errors
/// For anything but a duration or a time, and for a time to come; says what is expected.
pub(super) fn since(text: &str, now: Timestamp) -> Result<u64, String> {
    let moment = match text.parse::<Span>() {
        // By the calendar of UTC, so that days and weeks are allowed.
        Ok(span) => {
            now.to_zoned_datetime(TimeZone::UTC).checked_sub(span.abs()).ok().map(|zoned| zoned.timestamp())
        }
        Err(_) => time(text),
    };
    let moment = moment.ok_or_else(|| {
        format!(
            "`{text}` is no time: how long ago is expected, such as 90m, 24h or 7d, or when, such as \
             2026-11-23T12:00Z or 2026-11-23"
        )
    })?;
    if moment > now {
        return Err(format!("`{text}` is still to come"));
    }
    u64::try_from(moment.as_millisecond()).map_err(|_| format!("`{text}` is before 1970"))
}

/// A moment; without an offset by UTC, as days are.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let local: jiff::civil::DateTime = text.parse().ok()?;
        local.to_zoned_datetime(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    })
}

/// The day of a moment, by UTC.
pub(super) fn day(milliseconds: u64) -> String {
    let moment = i64::try_from(milliseconds).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(
        || milliseconds.to_string(),
        |day| day.to_zoned_datetime(TimeZone::UTC).date().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_000_000_000;

    fn of(text: &str) -> Result<u64, String> {
        since(text, Timestamp::from_millisecond(i64::try_from(NOW).unwrap()).unwrap())
    }

    #[test]
    fn durations_and_times_are_read() {
        let hour = 3_600_000;
        for (text, ago) in
            [("24h", 24 * hour), ("90m", hour * 3 / 2), ("7d", 7 * 24 * hour), ("1h 30m", hour * 3 / 2)]
        {
            assert_eq!(of(text), Ok(NOW - ago), "{text}");
        }
        assert_eq!(of("2026-11-01T00:00:00Z"), Ok(1_793_491_200_000));
        assert_eq!(of("2026-11-01T00:00Z"), Ok(1_793_491_200_000));
        assert_eq!(of("2026-11-01T02:00:00+02:00"), Ok(1_793_491_200_000));
        assert_eq!(of("2026-11-01"), Ok(1_793_491_200_000));
        assert_eq!(day(1_793_491_200_000), "2026-11-01");
    }

    #[test]
    fn anything_else_is_refused_with_what_is_expected() {
        for wrong in ["", "soon", "24", "-"] {
            assert!(of(wrong).unwrap_err().contains("such as 90m, 24h or 7d"), "{wrong}");
        }
        assert!(of("2030-01-01").unwrap_err().contains("still to come"));
    }
}
