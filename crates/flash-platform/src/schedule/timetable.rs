//! When a schedule fires: a cron expression in a time zone. Pure.
//!
//! Where a clock is put forward or back, times follow cron's rule. A schedule with one time of day fires once a day: a
//! time that does not exist fires when the clock has been put forward, one that exists twice fires the first time. A
//! schedule with several times or steps fires whenever the clock shows one of them: never at one that does not exist,
//! twice at one that exists twice.
use std::cmp::Ordering;

use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
    time::{CivilDateTime, CronDateTime, Resolution, Weekday},
};
use jiff::{
    SignedDuration, Timestamp, ZonedDateTime,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

/// See the module.
#[derive(Debug)]
pub(super) struct Timetable {
    cron: Cron,
    zone: TimeZone,
}

/// Why an expression or a time zone is not one.
#[derive(Debug, thiserror::Error)]
pub(super) enum TimetableError {
    #[error("`{expression}` is not a cron expression: {source}")]
    Expression { expression: String, source: CronError },
    #[error("`{name}` is not a time zone")]
    Zone { name: String, source: jiff::Error },
}

impl Timetable {
    /// Five fields, in the time zone with this IANA name.
    ///
    /// # Errors
    /// See [`TimetableError`].
    pub(super) fn parse(expression: &str, zone: &str) -> Result<Self, TimetableError> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser
            .parse(expression)
            .map_err(|source| TimetableError::Expression { expression: expression.to_owned(), source })?;
        let zone =
            TimeZone::get(zone).map_err(|source| TimetableError::Zone { name: zone.to_owned(), source })?;
        Ok(Self { cron, zone })
    }

    /// The first time after this one; `None` if there is none.
    pub(super) fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&self.moment(after), false).ok()?;
        Some(next.0.timestamp())
    }

    /// The latest `limit` times after the first moment, up to and including the second, the oldest first.
    pub(super) fn between(&self, after: Timestamp, until: Timestamp, limit: usize) -> Vec<Timestamp> {
        let mut times = Vec::new();
        let (mut from, mut is_inclusive) = (until, true);
        while times.len() < limit
            && let Ok(Moment(found)) = self.cron.find_previous_occurrence(&self.moment(from), is_inclusive)
            && found.timestamp() > after
        {
            times.push(found.timestamp());
            (from, is_inclusive) = (found.timestamp(), false);
        }
        times.reverse();
        times
    }

    fn moment(&self, time: Timestamp) -> Moment {
        Moment(time.to_zoned_datetime(self.zone.clone()))
    }
}

/// A time as croner walks it.
#[derive(Clone)]
struct Moment(ZonedDateTime);

impl CronDateTime for Moment {
    fn to_civil(&self) -> CivilDateTime {
        let part = |part: i8| u32::try_from(part).unwrap_or_default();
        let time = self.0.datetime();
        CivilDateTime::from_ymd_hms_opt(
            time.year().into(),
            part(time.month()),
            part(time.day()),
            part(time.hour()),
            part(time.minute()),
            part(time.second()),
        )
        .expect("a valid time of jiff is one of croner")
    }

    fn civil_weekday(&self) -> Weekday {
        let days = self.0.weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::try_from(days).unwrap_or_default())
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let part = |part: u32| i8::try_from(part).map_err(|_| CronError::InvalidDate);
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let (month, day) = (part(civil.month())?, part(civil.day())?);
        let (hour, minute, second) = (part(civil.hour())?, part(civil.minute())?, part(civil.second())?);
        let time = DateTime::new(year, month, day, hour, minute, second, 0);
        let found = self.0.time_zone().to_ambiguous_zoned_datetime(time.map_err(|_| CronError::InvalidDate)?);
        let found = match found.offset() {
            AmbiguousOffset::Gap { .. } => return Ok(Resolution::Gap),
            AmbiguousOffset::Unambiguous { .. } => {
                found.unambiguous().map(|time| Resolution::Single(Self(time)))
            }
            AmbiguousOffset::Fold { .. } => found
                .clone()
                .earlier()
                .and_then(|earlier| Ok(Resolution::Ambiguous(Self(earlier), Self(found.later()?)))),
        };
        found.map_err(|_| CronError::InvalidTime)
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        self.0.checked_add(SignedDuration::from_secs(seconds)).ok().map(Self)
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.timestamp().cmp(&other.0.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn fires(expression: &str, zone: &str, after: &str, until: &str) -> Vec<String> {
        let timetable = Timetable::parse(expression, zone).unwrap();
        let backward = timetable.between(time(after), time(until), 1000);
        // What is shown as next is what is due later.
        let mut forward = Vec::new();
        let mut at = time(after);
        while let Some(next) = timetable.next_after(at).filter(|next| *next <= time(until)) {
            forward.push(next);
            at = next;
        }
        assert_eq!(forward, backward, "{expression}, {zone}");
        backward.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_latest_times_up_to_a_moment_are_returned_in_order() {
        assert_eq!(
            fires("0 3 * * 1-5", "Europe/Berlin", "2026-11-27T02:00:00Z", "2026-12-01T02:00:00Z"),
            ["2026-11-30T02:00:00Z", "2026-12-01T02:00:00Z"]
        );
        let hourly = Timetable::parse("@hourly", "UTC").unwrap();
        let latest = hourly.between(time("2000-01-01T00:00:00Z"), time("2026-01-01T00:30:00Z"), 2);
        assert_eq!(latest, [time("2025-12-31T23:00:00Z"), time("2026-01-01T00:00:00Z")]);
    }

    #[test]
    fn a_time_of_day_that_does_not_exist_fires_once_the_clock_has_been_put_forward() {
        // On 2026-03-29, 02:00 becomes 03:00 in Berlin: 01:00 UTC.
        assert_eq!(
            fires("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-30T12:00:00Z"),
            ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_of_day_that_exists_twice_fires_the_first_time() {
        // On 2026-10-25, 03:00 becomes 02:00 in Berlin: 01:00 UTC.
        assert_eq!(
            fires("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-26T12:00:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn a_schedule_of_intervals_follows_what_the_clock_shows() {
        assert_eq!(
            fires("0,30 * * * *", "Europe/Berlin", "2026-03-29T00:29:00Z", "2026-03-29T01:31:00Z"),
            ["2026-03-29T00:30:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]
        );
        assert_eq!(
            fires("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z"),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"]
        );
        assert_eq!(
            fires("0 2,14 * * *", "Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T20:00:00Z"),
            ["2026-03-29T12:00:00Z"]
        );
    }

    #[test]
    fn what_is_no_schedule_is_refused_and_what_never_comes_has_no_next_time() {
        assert!(matches!(Timetable::parse("61 * * * *", "UTC"), Err(TimetableError::Expression { .. })));
        assert!(matches!(Timetable::parse("0 0 3 * * *", "UTC"), Err(TimetableError::Expression { .. })));
        assert!(matches!(Timetable::parse("0 3 * * *", "Europe/Berln"), Err(TimetableError::Zone { .. })));
        let never = Timetable::parse("0 3 30 2 *", "UTC").unwrap();
        assert_eq!(never.next_after(time("2026-01-01T00:00:00Z")), None);
    }
}
