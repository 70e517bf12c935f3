//! The two scalers of Runpod, and the rules around them: minimum, maximum, idle timeout, crash back-off.
use std::time::Duration;

use flash_sdk::manifest::ScalerEntry;

use crate::platform::queue::WorkerId;

/// What a worker type may have.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub min: usize,
    pub max: usize,
    pub idle_timeout: Duration,
    pub scaler: ScalerEntry,
}

/// What it has at this moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Observation {
    pub waiting: usize,
    pub oldest_wait: Duration,
    pub running: usize,
    pub workers: Vec<WorkerView>,
    /// Since the last worker was started for load; `None` if none was.
    pub since_last_start: Option<Duration>,
    /// Workers crashed lately: start none for now.
    pub backing_off: bool,
}

/// One worker, as far as the decision needs it. Stopping workers are left out.
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
    /// Idle workers to stop.
    pub stop: Vec<WorkerId>,
}

/// Between two starts for the same delay: a new worker first shows what it takes off the queue.
const BETWEEN_STARTS: Duration = Duration::from_secs(1);

/// The number of workers to start, or the idle ones to stop. Never both.
pub(crate) fn decide(limits: &Limits, seen: &Observation) -> Decision {
    let active = seen.workers.len();
    let wanted = wanted(limits, seen).clamp(limits.min, limits.max);
    if active < wanted {
        let start = if seen.backing_off { 0 } else { wanted - active };
        return Decision { start, stop: Vec::new() };
    }
    let spare = active - wanted.max(limits.min);
    Decision { start: 0, stop: idle_out(limits, seen, spare) }
}

fn wanted(limits: &Limits, seen: &Observation) -> usize {
    let active = seen.workers.len();
    let for_load = match limits.scaler {
        ScalerEntry::RequestCount { requests } => {
            (seen.waiting + seen.running).div_ceil(requests.max(1) as usize)
        }
        ScalerEntry::QueueDelay { seconds } => {
            let starting = seen.workers.contains(&WorkerView::Starting);
            let rested = seen.since_last_start.is_none_or(|since| since >= BETWEEN_STARTS);
            let late = seen.oldest_wait >= Duration::from_secs(seconds.into());
            // Work that waits keeps every worker; only work that waits too long asks for another.
            match seen.waiting {
                0 => 0,
                _ if active == 0 => 1,
                _ if late && !starting && rested => active + 1,
                _ => active,
            }
        }
    };
    // What works stays, whatever the scaler says.
    let busy = seen.workers.iter().filter(|worker| !matches!(worker, WorkerView::Idle { .. })).count();
    for_load.max(busy)
}

/// The longest idle first, up to `spare` of those past the idle timeout.
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
        Limits { min, max, idle_timeout: 5 * SECOND, scaler }
    }

    const DELAY: ScalerEntry = ScalerEntry::QueueDelay { seconds: 4 };

    fn idle(id: &str, seconds: u32) -> WorkerView {
        WorkerView::Idle { id: id.into(), idle_for: SECOND * seconds }
    }

    fn starts(count: usize) -> Decision {
        Decision { start: count, stop: Vec::new() }
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
        assert_eq!(decide(&limits(0, 3, DELAY), &starting), starts(0), "one at a time");
        let full = Observation { workers: vec![WorkerView::Busy; 3], ..late };
        assert_eq!(decide(&limits(0, 3, DELAY), &full), starts(0), "the maximum holds");
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
        assert_eq!(decide(&limits(0, 3, DELAY), &seen), starts(0));
    }

    #[test]
    fn a_load_that_comes_and_goes_faster_than_the_idle_timeout_moves_nothing() {
        let limits = limits(0, 3, DELAY);
        for second in 0..600 {
            let busy = second % 2 == 0;
            let worker = if busy { WorkerView::Busy } else { idle("a", 1) };
            let seen =
                Observation { running: usize::from(busy), workers: vec![worker], ..Observation::default() };
            assert_eq!(decide(&limits, &seen), Decision::default());
        }
    }
}
