//! Which of a schedule's times become jobs now. Pure: times in, decision out.
use flash_protocol::{Missed, Overlap};
use jiff::{SignedDuration, Timestamp};

use super::timetable::Timetable;

/// A time that is noticed later than this was missed. A restart takes less.
const LATE: SignedDuration = SignedDuration::from_secs(60);
/// How many missed times are made up for; older ones are left out.
pub(super) const MAX_MISSED: usize = 100;

/// The settings of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    pub missed: Missed,
    pub overlap: Overlap,
}

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Decision {
    /// Times to run for, the oldest first.
    pub fires: Vec<Timestamp>,
    /// Times that passed unnoticed and get no run.
    pub missed: usize,
    /// Times without a run because the last run has not ended.
    pub overlapping: usize,
    /// All times up to this one are dealt with once the jobs are accepted; `None`: nothing is.
    pub handled_until: Option<Timestamp>,
}

/// Decides about all times after `handled_until`, up to now.
pub(super) fn decide(
    timetable: &Timetable,
    policy: Policy,
    handled_until: Timestamp,
    is_running: bool,
    now: Timestamp,
) -> Decision {
    let due = timetable.between(handled_until, now, MAX_MISSED + 1);
    let Some(last) = due.last().copied() else { return Decision::default() };
    let is_exclusive = policy.overlap == Overlap::Skip;
    if is_exclusive && is_running && policy.missed == Missed::All {
        // Nothing is lost: they wait for the end of the run.
        return Decision::default();
    }
    let on_time = due.iter().position(|time| now.duration_since(*time) <= LATE).unwrap_or(due.len());
    let first = match policy.missed {
        Missed::Skip => on_time,
        Missed::Once => on_time.min(due.len() - 1),
        Missed::All => due.len().saturating_sub(MAX_MISSED),
    };
    let (missed, wanted) = due.split_at(first);
    let decision = Decision { missed: missed.len(), handled_until: Some(last), ..Decision::default() };
    match wanted {
        _ if !is_exclusive => Decision { fires: wanted.to_vec(), ..decision },
        wanted if is_running => Decision { overlapping: wanted.len(), ..decision },
        [first, ..] if policy.missed == Missed::All => {
            Decision { fires: vec![*first], handled_until: Some(*first), ..decision }
        }
        [rest @ .., last] => Decision { fires: vec![*last], overlapping: rest.len(), ..decision },
        [] => decision,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        format!("2026-11-29T{text}Z").parse().unwrap()
    }

    /// Every hour, last dealt with at 03:00. Times of fires, missed, overlapping, and until when all is dealt with.
    fn at(
        now: &str,
        missed: Missed,
        overlap: Overlap,
        is_running: bool,
    ) -> (Vec<String>, usize, usize, String) {
        let hourly = Timetable::parse("0 * * * *", "UTC").unwrap();
        let decision = decide(&hourly, Policy { missed, overlap }, time("03:00:00"), is_running, time(now));
        let hour = |time: &Timestamp| time.strftime("%H").to_string();
        let fires = decision.fires.iter().map(hour).collect();
        let until = decision.handled_until.as_ref().map(hour).unwrap_or_default();
        (fires, decision.missed, decision.overlapping, until)
    }

    fn list(hours: &[&str]) -> Vec<String> {
        hours.iter().map(|&hour| hour.to_owned()).collect()
    }

    #[test]
    fn a_time_fires_once_it_is_there_and_not_again() {
        let at = |now| at(now, Missed::Skip, Overlap::Skip, false);
        assert_eq!(at("03:59:59"), (list(&[]), 0, 0, String::new()));
        assert_eq!(at("04:00:00"), (list(&["04"]), 0, 0, "04".into()));
        // Noticed after a restart.
        assert_eq!(at("04:00:59"), (list(&["04"]), 0, 0, "04".into()));
        assert_eq!(at("04:01:01"), (list(&[]), 1, 0, "04".into()));
    }

    #[test]
    fn missed_times_follow_the_setting() {
        let at = |now, missed| at(now, missed, Overlap::Allow, false);
        assert_eq!(at("07:30:00", Missed::Skip), (list(&[]), 4, 0, "07".into()));
        assert_eq!(at("07:30:00", Missed::Once), (list(&["07"]), 3, 0, "07".into()));
        assert_eq!(at("07:30:00", Missed::All), (list(&["04", "05", "06", "07"]), 0, 0, "07".into()));
        // The one that is on time stands for those before.
        assert_eq!(at("07:00:10", Missed::Once), (list(&["07"]), 3, 0, "07".into()));
        assert_eq!(at("07:00:10", Missed::Skip), (list(&["07"]), 3, 0, "07".into()));
    }

    #[test]
    fn a_run_does_not_start_beside_another_unless_it_may() {
        assert_eq!(at("04:00:00", Missed::Skip, Overlap::Skip, true), (list(&[]), 0, 1, "04".into()));
        assert_eq!(at("04:00:00", Missed::Skip, Overlap::Allow, true), (list(&["04"]), 0, 0, "04".into()));
        assert_eq!(at("05:30:00", Missed::Once, Overlap::Skip, true), (list(&[]), 1, 1, "05".into()));
    }

    #[test]
    fn with_all_the_times_wait_for_each_other() {
        let at = |is_running| at("06:30:00", Missed::All, Overlap::Skip, is_running);
        assert_eq!(at(true), (list(&[]), 0, 0, String::new()));
        assert_eq!(at(false), (list(&["04"]), 0, 0, "04".into()));
    }

    #[test]
    fn missed_times_are_bounded_by_dropping_the_oldest() {
        let minutely = Timetable::parse("* * * * *", "UTC").unwrap();
        let policy = Policy { missed: Missed::All, overlap: Overlap::Allow };
        let decision = decide(&minutely, policy, time("03:00:00"), false, time("09:00:00"));
        assert_eq!(decision.fires.len(), MAX_MISSED);
        assert_eq!(decision.fires.last(), Some(&time("09:00:00")));
        assert_eq!(decision.missed, 1, "of those looked at");
    }
}
