//! The two scalers of Runpod, and the rules around them: minimum, maximum, idle timeout, crash back-off.
use std::time::Duration;

use flash_protocol::manifest::ScalerEntry;

use crate::worker_id::WorkerId;

/// The limits of a worker type.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub min: usize,
    pub max: usize,
    /// Jobs or requests that one worker runs at the same time.
    pub slots: usize,
    pub idle_timeout: Duration,
    pub scaler: ScalerEntry,
    /// Idle workers beyond what the load needs, while there is load.
    pub buffer: usize,
}

/// The current state of a worker type.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    /// Waiting jobs or requests; low-priority jobs are counted separately.
    pub waiting: usize,
    /// How long the oldest of `waiting` has waited.
    pub oldest_wait: Duration,
    /// How many of `waiting` were submitted together by a caller that waits for all of them.
    pub fanned_out: usize,
    /// Waiting low-priority jobs: they start no worker, but keep running workers alive.
    pub low_priority: usize,
    pub running: usize,
    /// How many of `running` have low priority.
    pub low_priority_running: usize,
    pub workers: Vec<WorkerView>,
    /// Workers that are stopping. They count towards the maximum until their process has ended, because their memory
    /// or GPU is not free before.
    pub stopping: usize,
    /// Time since the last worker was started for load; `None` if there was none.
    pub since_last_start: Option<Duration>,
    /// Workers have crashed recently, so none is started now.
    pub backing_off: bool,
}

/// One worker, as far as the decision needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WorkerView {
    Starting,
    Busy,
    Idle { id: WorkerId, idle_for: Duration },
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    pub start: usize,
    /// Workers that the load requires but that are not started because of crashes.
    pub held_back: usize,
    /// Idle workers to stop.
    pub stop: Vec<WorkerId>,
}

/// The pause between two starts for the same delay: a new worker must first have time to reduce the queue.
const BETWEEN_STARTS: Duration = Duration::from_secs(1);

/// The number of workers to start, or the idle ones to stop. Never both.
pub(crate) fn decide(limits: &Limits, seen: &Observation) -> Decision {
    let active = seen.workers.len();
    let wanted = wanted(limits, seen).clamp(limits.min, limits.max.max(limits.min));
    if active >= wanted {
        return Decision { stop: idle_out(limits, seen, active - wanted), ..Decision::default() };
    }
    if seen.backing_off {
        return Decision { held_back: wanted - active, ..Decision::default() };
    }
    let room = limits.max.max(limits.min).saturating_sub(active + seen.stopping);
    Decision { start: (wanted - active).min(room), ..Decision::default() }
}

fn wanted(limits: &Limits, seen: &Observation) -> usize {
    let for_load = match limits.scaler {
        ScalerEntry::RequestCount { requests } => for_request_count(limits, seen, requests),
        ScalerEntry::QueueDelay { seconds } => {
            for_queue_delay(limits, seen, Duration::from_secs(seconds.into()))
        }
    };
    // Working workers always stay. While low-priority work waits, idle workers stay too.
    let kept = match seen.low_priority {
        0 => seen.workers.iter().filter(|worker| !matches!(worker, WorkerView::Idle { .. })).count(),
        _ => seen.workers.len(),
    };
    for_load.max(kept).max(with_buffer(limits, seen))
}

/// While there is normal load: the workers that it needs, and the buffer. Waiting work takes of the buffer before the
/// scaler starts a worker for it.
fn with_buffer(limits: &Limits, seen: &Observation) -> usize {
    let normal_running = seen.running.saturating_sub(seen.low_priority_running);
    if limits.buffer == 0 || seen.waiting + normal_running == 0 {
        return 0;
    }
    let needed = match limits.scaler {
        ScalerEntry::RequestCount { requests } => for_request_count(limits, seen, requests),
        ScalerEntry::QueueDelay { .. } => {
            seen.workers.iter().filter(|worker| **worker == WorkerView::Busy).count()
        }
    };
    needed + limits.buffer
}

/// Runpod's formula: queued and in progress, by the number of requests for one worker, rounded up.
fn for_request_count(limits: &Limits, seen: &Observation, requests: u32) -> usize {
    let normal = seen.waiting + seen.running.saturating_sub(seen.low_priority_running);
    let for_normal = normal.div_ceil(requests.max(1) as usize);
    match seen.waiting {
        // All normal work has a worker. Low-priority work does not start one.
        0 => for_normal,
        // Workers that run low-priority work cannot take waiting work.
        _ => for_normal + seen.low_priority_running.div_ceil(limits.slots.max(1)),
    }
}

/// While work waits, every worker stays. Work that waits too long starts more workers, one at a time. Fanned-out work
/// starts all its workers at once, because it is not a short peak that passes by itself.
fn for_queue_delay(limits: &Limits, seen: &Observation, delay: Duration) -> usize {
    let active = seen.workers.len();
    let at_once = active + for_fan_out(limits, seen);
    match seen.waiting {
        0 => return 0,
        _ if active == 0 => return at_once.max(1),
        _ if at_once > active || seen.oldest_wait < delay => return at_once,
        _ => {}
    }
    let starting = seen.workers.iter().filter(|worker| **worker == WorkerView::Starting).count();
    // If a worker takes long to start, another one starts after the next delay, but never more than there is work
    // for: a slow start must not lead to the maximum number of workers.
    let rest = if starting == 0 { BETWEEN_STARTS } else { delay.max(BETWEEN_STARTS) };
    let rested = seen.since_last_start.is_none_or(|since| since >= rest);
    let unserved = seen.waiting > starting * limits.slots.max(1);
    active + usize::from(rested && unserved)
}

/// Workers for fanned-out work that has no slot on free or starting workers.
fn for_fan_out(limits: &Limits, seen: &Observation) -> usize {
    let slots = limits.slots.max(1);
    let soon_free = seen.workers.iter().filter(|worker| **worker != WorkerView::Busy).count();
    seen.fanned_out.min(seen.waiting).saturating_sub(soon_free * slots).div_ceil(slots)
}

/// The longest idle first: up to `spare` workers past the idle timeout.
fn idle_out(limits: &Limits, seen: &Observation, spare: usize) -> Vec<WorkerId> {
    let mut idle: Vec<(&WorkerId, Duration)> = seen
        .workers
        .iter()
        .filter_map(|worker| match worker {
            WorkerView::Idle { id, idle_for } if *idle_for >= limits.idle_timeout => Some((id, *idle_for)),
            _ => None,
        })
        .collect();
    idle.sort_by_key(|(_, idle_for)| std::cmp::Reverse(*idle_for));
    idle.into_iter().take(spare).map(|(id, _)| id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limits(min: usize, max: usize, scaler: ScalerEntry) -> Limits {
        Limits { min, max, slots: 1, idle_timeout: 5 * SECOND, scaler, buffer: 0 }
    }

    const DELAY: ScalerEntry = ScalerEntry::QueueDelay { seconds: 4 };

    fn idle(id: &str, seconds: u32) -> WorkerView {
        WorkerView::Idle { id: id.into(), idle_for: SECOND * seconds }
    }

    fn starts(count: usize) -> Decision {
        Decision { start: count, ..Decision::default() }
    }

    #[test]
    fn the_minimum_runs_without_load_and_stays() {
        assert_eq!(decide(&limits(2, 3, DELAY), &Observation::default()), starts(2));
        let workers = vec![idle("a", 60), idle("b", 60)];
        assert_eq!(
            decide(&limits(2, 3, DELAY), &Observation { workers, ..Observation::default() }),
            starts(0)
        );
    }

    #[test]
    fn from_zero_one_job_starts_one_worker_at_once() {
        let seen = Observation { waiting: 50, ..Observation::default() };
        assert_eq!(decide(&limits(0, 3, DELAY), &seen), starts(1));
        assert_eq!(decide(&limits(0, 3, DELAY), &Observation::default()), starts(0));
    }

    #[test]
    fn a_job_that_waits_longer_than_the_delay_gets_one_more_worker() {
        let seen = Observation {
            waiting: 5,
            oldest_wait: 3 * SECOND,
            running: 1,
            workers: vec![WorkerView::Busy],
            ..Observation::default()
        };
        assert_eq!(decide(&limits(0, 3, DELAY), &seen), starts(0));
        let late = Observation { oldest_wait: 4 * SECOND, ..seen.clone() };
        assert_eq!(decide(&limits(0, 3, DELAY), &late), starts(1));
        let starting = Observation { workers: vec![WorkerView::Busy, WorkerView::Starting], ..late.clone() };
        let starting = Observation { since_last_start: Some(2 * SECOND), ..starting };
        assert_eq!(decide(&limits(0, 3, DELAY), &starting), starts(0), "one at a time");
        let slow = Observation { since_last_start: Some(4 * SECOND), ..starting };
        assert_eq!(decide(&limits(0, 3, DELAY), &slow), starts(1), "another delay has passed");
        let served = Observation { waiting: 1, ..slow };
        assert_eq!(decide(&limits(0, 3, DELAY), &served), starts(0), "the one that starts will take it");
        let full = Observation { workers: vec![WorkerView::Busy; 3], ..late };
        assert_eq!(decide(&limits(0, 3, DELAY), &full), starts(0), "the maximum holds");
    }

    #[test]
    fn a_fan_out_gets_the_workers_that_it_needs_at_once_and_no_more() {
        let fanned_out = |waiting, fanned_out, workers| Observation {
            waiting,
            fanned_out,
            workers,
            ..Observation::default()
        };
        use WorkerView::{Busy, Starting};
        assert_eq!(decide(&limits(0, 4, DELAY), &fanned_out(6, 6, vec![])), starts(4));
        assert_eq!(decide(&limits(0, 9, DELAY), &fanned_out(5, 5, vec![Busy])), starts(5));
        assert_eq!(
            decide(&limits(0, 9, DELAY), &fanned_out(5, 5, vec![Busy, Starting, Starting])),
            starts(3)
        );
        assert_eq!(decide(&limits(0, 9, DELAY), &fanned_out(5, 5, vec![Starting; 5])), starts(0));
        assert_eq!(
            decide(&limits(0, 9, DELAY), &fanned_out(100, 2, vec![Busy])),
            starts(2),
            "the rest waits"
        );
        let eight = Limits { slots: 8, ..limits(0, 9, DELAY) };
        assert_eq!(decide(&eight, &fanned_out(17, 17, vec![])), starts(3));
    }

    #[test]
    fn a_buffer_of_idle_workers_is_kept_while_there_is_load_and_within_the_maximum() {
        use WorkerView::{Busy, Starting};
        let buffered = |max, scaler| Limits { buffer: 2, ..limits(0, max, scaler) };
        let seen =
            |waiting, running, workers| Observation { waiting, running, workers, ..Observation::default() };
        let by_delay = |max, seen: &Observation| decide(&buffered(max, DELAY), seen);
        assert_eq!(by_delay(9, &seen(0, 0, vec![])), starts(0), "without load there is none");
        assert_eq!(by_delay(9, &seen(1, 0, vec![])), starts(2), "one of them takes the work");
        assert_eq!(by_delay(9, &seen(0, 1, vec![Busy, Starting])), starts(1), "so there is one more");
        assert_eq!(by_delay(9, &seen(0, 3, vec![Busy, Busy, Busy, idle("a", 1), Starting])), starts(0));
        assert_eq!(by_delay(4, &seen(0, 3, vec![Busy; 3])), starts(1), "the maximum holds");
        // Under load they stay whatever their idle timeout is; those beyond them do not.
        let idles = vec![Busy, idle("a", 60), idle("b", 61), idle("c", 62)];
        let decision = by_delay(9, &seen(0, 1, idles.clone()));
        assert_eq!((decision.start, decision.stop), (0, vec!["c".into()]));
        assert_eq!(by_delay(9, &seen(0, 0, idles[1..].to_vec())).stop.len(), 3, "without load all of them");
        // Low-priority work is no load.
        let low = Observation { low_priority_running: 1, ..seen(0, 1, vec![Busy]) };
        assert_eq!(by_delay(9, &low), starts(0));
        let by_count = buffered(9, ScalerEntry::RequestCount { requests: 4 });
        assert_eq!(decide(&by_count, &seen(0, 5, vec![Busy, Busy])), starts(2));
        assert_eq!(decide(&by_count, &seen(0, 0, vec![])), starts(0));
    }

    #[test]
    fn the_request_count_is_rounded_up() {
        let by_four = limits(0, 10, ScalerEntry::RequestCount { requests: 4 });
        let seen = Observation {
            waiting: 1,
            running: 8,
            workers: vec![WorkerView::Busy; 2],
            ..Observation::default()
        };
        assert_eq!(decide(&by_four, &seen), starts(1));
    }

    #[test]
    fn idle_workers_stop_after_the_timeout_longest_idle_first() {
        let workers = vec![idle("a", 6), idle("b", 9), idle("c", 4)];
        let decision = decide(&limits(1, 3, DELAY), &Observation { workers, ..Observation::default() });
        assert_eq!(decision.stop, ["b".into(), "a".into()]);
    }

    #[test]
    fn nothing_starts_while_workers_crash() {
        let seen = Observation { waiting: 1, backing_off: true, ..Observation::default() };
        let held_back = Decision { held_back: 1, ..Decision::default() };
        assert_eq!(decide(&limits(0, 3, DELAY), &seen), held_back);
    }

    #[test]
    fn a_worker_on_its_way_out_takes_its_place_until_it_is_gone() {
        let seen = Observation { waiting: 1, stopping: 1, ..Observation::default() };
        assert_eq!(decide(&limits(0, 1, DELAY), &seen), starts(0));
        assert_eq!(decide(&limits(0, 2, DELAY), &seen), starts(1));
    }

    #[test]
    fn low_priority_work_starts_no_worker_and_keeps_those_that_run() {
        for scaler in [DELAY, ScalerEntry::RequestCount { requests: 1 }] {
            let seen = Observation { low_priority: 9, ..Observation::default() };
            assert_eq!(decide(&limits(0, 3, scaler), &seen), starts(0));
            let seen = Observation { workers: vec![idle("a", 60)], ..seen };
            assert_eq!(decide(&limits(0, 3, scaler), &seen), starts(0));
        }
    }

    #[test]
    fn a_worker_busy_with_low_priority_work_is_not_counted_on() {
        let by_one = Limits { slots: 2, ..limits(0, 3, ScalerEntry::RequestCount { requests: 1 }) };
        let busy = Observation {
            running: 2,
            low_priority_running: 2,
            workers: vec![WorkerView::Busy],
            ..Observation::default()
        };
        assert_eq!(decide(&by_one, &busy), starts(0), "it is no load");
        assert_eq!(decide(&by_one, &Observation { waiting: 1, ..busy }), starts(1));
    }
}
