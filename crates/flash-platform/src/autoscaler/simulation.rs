//! Simulates ten minutes of a worker type in milliseconds: scripted arrivals, workers with start and service times, a
//! virtual clock. Decisions and back-off are the real code.
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use flash_protocol::manifest::ScalerEntry;

use super::{Limits, Observation, WorkerView, decide};
use crate::pool::{Crashes, Death};

/// One step of the clock, in milliseconds: the least time between two looks of the pool.
const STEP: u64 = 10;
/// The normal interval between two checks.
const PERIOD: u64 = 100;
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
/// Long enough after the last arrival for all work to finish.
const TEN_MINUTES: u64 = 10 * MINUTE;

/// A job to come.
#[derive(Clone, Copy)]
struct Arrival {
    at: u64,
    service: u64,
    low_priority: bool,
    fan_out: bool,
}

/// What happens, and under which limits.
struct Script {
    limits: Limits,
    arrivals: Vec<Arrival>,
    /// How long a worker takes to become ready.
    start_time: u64,
    /// Whether workers die instead of becoming ready.
    crashes: bool,
}

/// What came of it.
#[derive(Debug, Default)]
struct Outcome {
    starts: usize,
    stops: usize,
    /// Milliseconds.
    longest_wait: u64,
    served: usize,
    /// Jobs that never ran.
    left: usize,
    most_workers: usize,
    /// Of all workers, starting ones included.
    worker_seconds: u64,
    workers_at_the_end: usize,
    most_held_back: usize,
}

struct Worker {
    ready_at: u64,
    /// When each of its jobs ends, and whether it has low priority.
    jobs: Vec<(u64, bool)>,
    idle_since: u64,
}

struct World {
    script: Script,
    /// Virtual milliseconds.
    now: u64,
    /// The real clock is read once; all later times are this and virtual milliseconds.
    base: Instant,
    waiting: VecDeque<Arrival>,
    waiting_low: VecDeque<Arrival>,
    workers: BTreeMap<usize, Worker>,
    /// The last used one last, as in the queue.
    order: Vec<usize>,
    last_start: Option<u64>,
    crashes: Crashes,
    seen: Outcome,
}

impl Script {
    fn new(scaler: ScalerEntry, arrivals: Vec<Arrival>) -> Self {
        let limits = Limits {
            min: 0,
            max: 3,
            slots: 1,
            idle_timeout: Duration::from_millis(5 * SECOND),
            scaler,
            buffer: 0,
        };
        Self { limits, arrivals, start_time: 2 * SECOND, crashes: false }
    }

    fn run(self) -> Outcome {
        let mut world = World {
            script: self,
            now: 0,
            base: Instant::now(),
            waiting: VecDeque::new(),
            waiting_low: VecDeque::new(),
            workers: BTreeMap::new(),
            order: Vec::new(),
            last_start: None,
            crashes: Crashes::default(),
            seen: Outcome::default(),
        };
        world.script.arrivals.sort_by_key(|arrival| arrival.at);
        let mut arrivals: VecDeque<Arrival> = world.script.arrivals.iter().copied().collect();
        while world.now < TEN_MINUTES {
            world.step(&mut arrivals);
        }
        world.seen.left = world.waiting.len() + world.waiting_low.len() + arrivals.len();
        world.seen.workers_at_the_end = world.workers.len();
        world.seen.worker_seconds /= SECOND;
        world.seen
    }
}

impl World {
    fn step(&mut self, arrivals: &mut VecDeque<Arrival>) {
        let now = self.now;
        let mut arrived = false;
        while arrivals.front().is_some_and(|arrival| arrival.at <= now) {
            let Some(arrival) = arrivals.pop_front() else { break };
            if arrival.low_priority { &mut self.waiting_low } else { &mut self.waiting }.push_back(arrival);
            arrived = true;
        }
        for worker in self.workers.values_mut() {
            let before = worker.jobs.len();
            worker.jobs.retain(|(end, _)| *end > now);
            if worker.jobs.is_empty() && before > 0 {
                worker.idle_since = now;
            }
        }
        if self.script.crashes {
            self.crash();
        }
        self.dispatch();
        // Work that found no worker wakes the pool; otherwise it looks by the clock.
        let called = arrived && !self.waiting.is_empty();
        if called || now.is_multiple_of(PERIOD) {
            self.look();
        }
        self.seen.worker_seconds += STEP * self.workers.len() as u64;
        self.now += STEP;
    }

    fn crash(&mut self) {
        let dead: Vec<usize> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.ready_at <= self.now)
            .map(|(id, _)| *id)
            .collect();
        for id in dead {
            self.workers.remove(&id);
            self.order.retain(|own| *own != id);
            self.crashes.died(Death::Starting, self.instant());
        }
    }

    fn dispatch(&mut self) {
        let slots = self.script.limits.slots;
        while !(self.waiting.is_empty() && self.waiting_low.is_empty()) {
            let free = |id: &&usize| {
                self.workers.get(*id).is_some_and(|own| own.ready_at <= self.now && own.jobs.len() < slots)
            };
            let Some(id) = self.order.iter().rev().find(free).copied() else { return };
            let Some(job) = self.waiting.pop_front().or_else(|| self.waiting_low.pop_front()) else { return };
            if !job.low_priority {
                self.seen.longest_wait = self.seen.longest_wait.max(self.now - job.at);
            }
            self.seen.served += 1;
            self.order.retain(|own| *own != id);
            self.order.push(id);
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.jobs.push((self.now + job.service, job.low_priority));
            }
        }
    }

    fn instant(&self) -> Instant {
        self.base + Duration::from_millis(self.now)
    }

    fn look(&mut self) {
        let since = |at: u64| Duration::from_millis(self.now - at);
        let view = |(id, worker): (&usize, &Worker)| match worker {
            worker if worker.ready_at > self.now => WorkerView::Starting,
            worker if !worker.jobs.is_empty() => WorkerView::Busy,
            worker => WorkerView::Idle {
                id: id.to_string().into(),
                idle_for: since(worker.idle_since.max(worker.ready_at)),
            },
        };
        let running = || self.workers.values().flat_map(|worker| &worker.jobs);
        let observation = Observation {
            waiting: self.waiting.len(),
            oldest_wait: self.waiting.front().map_or(Duration::ZERO, |job| since(job.at)),
            fanned_out: self.waiting.iter().filter(|job| job.fan_out).count(),
            low_priority: self.waiting_low.len(),
            running: running().count(),
            low_priority_running: running().filter(|(_, low)| *low).count(),
            workers: self.workers.iter().map(view).collect(),
            stopping: 0,
            since_last_start: self.last_start.map(since),
            backing_off: self.crashes.backing_off(self.instant()),
        };
        let decision = decide(&self.script.limits, &observation);
        for _ in 0..decision.start {
            self.last_start = Some(self.now);
            let ready_at = self.now + self.script.start_time;
            self.workers.insert(self.seen.starts, Worker { ready_at, jobs: Vec::new(), idle_since: 0 });
            self.order.push(self.seen.starts);
            self.seen.starts += 1;
        }
        for id in decision.stop {
            let id: usize = id.parse().unwrap();
            self.workers.remove(&id);
            self.order.retain(|own| *own != id);
            self.seen.stops += 1;
        }
        self.seen.most_workers = self.seen.most_workers.max(self.workers.len());
        self.seen.most_held_back = self.seen.most_held_back.max(decision.held_back);
    }
}

const DELAY: ScalerEntry = ScalerEntry::QueueDelay { seconds: 4 };

fn count(requests: u32) -> ScalerEntry {
    ScalerEntry::RequestCount { requests }
}

fn burst(at: u64, jobs: usize, service: u64) -> Vec<Arrival> {
    vec![Arrival { at, service, low_priority: false, fan_out: false }; jobs]
}

/// As by `map`.
fn fanned_out(at: u64, jobs: usize, service: u64) -> Vec<Arrival> {
    vec![Arrival { at, service, low_priority: false, fan_out: true }; jobs]
}

/// Bursts of this many jobs, one each `period`, for the first eight minutes.
fn bursts(period: u64, jobs: usize, service: u64) -> Vec<Arrival> {
    (0..8 * MINUTE)
        .step_by(usize::try_from(period).unwrap())
        .flat_map(|at| burst(at, jobs, service))
        .collect()
}

fn low(arrivals: Vec<Arrival>) -> Vec<Arrival> {
    arrivals.into_iter().map(|arrival| Arrival { low_priority: true, ..arrival }).collect()
}

#[test]
fn a_burst_from_zero_by_queue_delay_adds_workers_while_work_is_late_and_ends_at_zero() {
    let outcome = Script::new(DELAY, burst(0, 60, SECOND)).run();
    assert_eq!((outcome.starts, outcome.stops, outcome.most_workers), (3, 3, 3), "{outcome:?}");
    assert_eq!((outcome.served, outcome.workers_at_the_end), (60, 0), "{outcome:?}");
    // 2 s of start, then 60 s of work on what becomes three workers.
    assert!(outcome.longest_wait < 26 * SECOND, "{outcome:?}");
    assert!(outcome.worker_seconds < 90, "60 of work, 6 of starts, 15 of idling: {outcome:?}");
}

#[test]
fn a_burst_from_zero_by_request_count_starts_what_the_formula_says_at_once() {
    let outcome = Script::new(count(4), burst(0, 10, SECOND)).run();
    assert_eq!((outcome.starts, outcome.stops, outcome.most_workers), (3, 3, 3), "{outcome:?}");
    assert!(outcome.longest_wait <= 2 * SECOND + 3 * SECOND + STEP, "{outcome:?}");
    let small = Script::new(count(4), burst(0, 4, SECOND)).run();
    assert_eq!((small.starts, small.served), (1, 4), "{small:?}");
}

#[test]
fn a_fan_out_from_zero_runs_on_all_workers_that_are_allowed() {
    let run = |arrivals| {
        let mut script = Script::new(DELAY, arrivals);
        (script.limits.max, script.start_time) = (4, SECOND / 2);
        script.run()
    };
    let mapped = run(fanned_out(0, 6, SECOND));
    assert_eq!((mapped.starts, mapped.stops, mapped.served), (4, 4, 6), "{mapped:?}");
    assert!(mapped.longest_wait <= SECOND / 2 + SECOND + STEP, "two rounds of one second: {mapped:?}");
    let alone = run(burst(0, 6, SECOND));
    assert!(alone.longest_wait > 3 * SECOND, "what comes by itself is served by the delay: {alone:?}");
    let few = run(fanned_out(0, 2, SECOND));
    assert_eq!((few.starts, few.served), (2, 2), "no more workers than work: {few:?}");
}

#[test]
fn one_job_from_zero_waits_for_one_start_and_no_longer() {
    for scaler in [DELAY, count(1)] {
        let outcome = Script::new(scaler, burst(30 * SECOND, 1, SECOND)).run();
        assert_eq!((outcome.starts, outcome.stops), (1, 1), "{outcome:?}");
        assert_eq!(outcome.longest_wait, 2 * SECOND, "{outcome:?}");
        assert_eq!(outcome.worker_seconds, 8, "2 of start, 1 of work, 5 of idling: {outcome:?}");
    }
}

#[test]
fn steady_load_settles_on_the_workers_it_needs() {
    // Two jobs a second of 0.8 s each: 1.6 workers.
    let arrivals = || bursts(SECOND / 2, 1, 800);
    let by_delay = Script::new(DELAY, arrivals()).run();
    assert!(by_delay.starts <= 3 && by_delay.most_workers <= 3, "{by_delay:?}");
    assert_eq!((by_delay.served, by_delay.left, by_delay.workers_at_the_end), (960, 0, 0), "{by_delay:?}");
    assert!(by_delay.longest_wait < 10 * SECOND, "{by_delay:?}");
    let by_count = Script::new(count(1), arrivals()).run();
    assert!(by_count.starts <= 3 && by_count.longest_wait < 5 * SECOND, "{by_count:?}");
}

#[test]
fn a_load_that_oscillates_faster_than_the_idle_timeout_starts_and_stops_nothing() {
    for scaler in [DELAY, count(1)] {
        // Two jobs of half a second each 4 s: idle for 3 s in between.
        let outcome = Script::new(scaler, bursts(4 * SECOND, 2, SECOND / 2)).run();
        assert!(outcome.starts <= 2, "{scaler:?}: {outcome:?}");
        assert_eq!((outcome.stops, outcome.served), (outcome.starts, 240), "only at the end: {outcome:?}");
    }
}

#[test]
fn a_load_that_oscillates_slower_than_the_idle_timeout_costs_one_start_each_time() {
    for scaler in [DELAY, count(1)] {
        let outcome = Script::new(scaler, bursts(MINUTE, 1, SECOND)).run();
        assert_eq!((outcome.starts, outcome.stops), (8, 8), "{scaler:?}: {outcome:?}");
        assert_eq!(outcome.worker_seconds, 8 * 8, "{scaler:?}: {outcome:?}");
    }
}

#[test]
fn the_minimum_is_held_through_ten_idle_minutes_and_after_a_burst() {
    for scaler in [DELAY, count(1)] {
        let mut script = Script::new(scaler, burst(MINUTE, 30, SECOND));
        script.limits.min = 2;
        let outcome = script.run();
        assert_eq!((outcome.workers_at_the_end, outcome.starts - outcome.stops), (2, 2), "{outcome:?}");
        assert_eq!((outcome.most_workers, outcome.served), (3, 30), "{outcome:?}");
    }
}

#[test]
fn the_maximum_is_held_under_any_load() {
    for scaler in [DELAY, count(1)] {
        let mut script = Script::new(scaler, burst(0, 500, SECOND));
        script.limits.max = 2;
        let outcome = script.run();
        assert_eq!((outcome.most_workers, outcome.starts, outcome.served), (2, 2, 500), "{outcome:?}");
    }
}

#[test]
fn slow_starts_do_not_start_more_workers_than_there_is_work() {
    for scaler in [DELAY, count(1)] {
        let mut script = Script::new(scaler, burst(0, 2, SECOND));
        (script.start_time, script.limits.max) = (MINUTE, 10);
        let outcome = script.run();
        assert!(outcome.starts <= 2, "two jobs never need three workers: {scaler:?}: {outcome:?}");
        assert!(outcome.longest_wait <= MINUTE + 5 * SECOND, "{scaler:?}: {outcome:?}");
    }
}

#[test]
fn a_backlog_with_slow_starts_gets_its_workers_before_the_first_one_is_ready() {
    let mut script = Script::new(DELAY, burst(0, 40, 10 * SECOND));
    (script.start_time, script.limits.max) = (MINUTE, 10);
    let outcome = script.run();
    assert_eq!((outcome.starts, outcome.served), (10, 40), "{outcome:?}");
    // One start each 4 s; one after the other they would take ten minutes.
    assert!(outcome.longest_wait < 150 * SECOND, "{outcome:?}");
}

#[test]
fn low_priority_work_starts_no_worker_and_runs_beside_the_rest() {
    for scaler in [DELAY, count(1)] {
        let alone = Script::new(scaler, low(burst(0, 20, SECOND))).run();
        assert_eq!((alone.starts, alone.left), (0, 20), "{scaler:?}: {alone:?}");

        let mut arrivals = low(burst(0, 20, SECOND));
        arrivals.extend(burst(MINUTE, 1, SECOND));
        let beside = Script::new(scaler, arrivals).run();
        assert_eq!((beside.starts, beside.stops, beside.served), (1, 1, 21), "{scaler:?}: {beside:?}");
        assert_eq!(beside.longest_wait, 2 * SECOND, "normal work goes first: {scaler:?}: {beside:?}");
    }
}

#[test]
fn workers_that_crash_are_started_ever_more_slowly() {
    let mut script = Script::new(count(1), burst(0, 1, SECOND));
    (script.crashes, script.start_time) = (true, 100);
    let outcome = script.run();
    // 0, 0.25, 0.5, 1, 2, 4, 8, 16 s, then one each half a minute.
    assert_eq!((outcome.starts, outcome.left, outcome.most_held_back), (26, 1, 1), "{outcome:?}");
    assert_eq!(outcome.most_workers, 1, "{outcome:?}");
}

#[test]
fn several_jobs_at_once_on_a_worker_need_fewer_workers() {
    for scaler in [DELAY, count(8)] {
        let mut script = Script::new(scaler, bursts(2 * SECOND, 8, SECOND));
        // Ready before the second burst: then one worker has room for all of it.
        (script.limits.slots, script.start_time) = (8, SECOND);
        let outcome = script.run();
        assert_eq!(
            (outcome.starts, outcome.stops, outcome.served),
            (1, 1, 8 * 240),
            "{scaler:?}: {outcome:?}"
        );
    }
}
