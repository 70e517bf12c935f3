//! Statistics of a worker type since the platform started, across releases: outcomes, times, the last problem, and calls
//! and cost per function.
//!
//! They are updated at each end of a job or request, with one short lock and no allocation. What ended is kept for a
//! while in [`Hops`], under a lock of its own.
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, SystemTime},
};

use flash_protocol::{BatchRun, Generations, GenerationsByModel, Latencies, catalogue::NanoDollars};
use parking_lot::{Mutex, MutexGuard};

use super::{app_metrics::AppMetrics, counters::Answers, hops::Hops};

/// Problems that are kept of each worker type; the oldest go.
const KEPT_PROBLEMS: usize = 5;
/// Models of a worker type that are counted: workers choose their names.
const MAX_MODELS: usize = 64;
/// Characters of a problem: functions and workers choose them.
const MAX_MESSAGE: usize = 500;

/// Something that went wrong: a job that failed, a worker that crashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// When it was recorded.
    pub time: SystemTime,
    /// What went wrong, for people; 500 characters at most.
    pub message: String,
    /// The request that failed, if there was one.
    pub request_id: Option<String>,
    /// The ID of the worker, if there was one.
    pub worker: Option<String>,
}

/// The statistics of one function's calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Calls that ended.
    pub count: u64,
    /// How.
    pub ends: Ends,
    pub cost: NanoDollars,
    /// Time that they ran, all together.
    pub ran: Duration,
    /// Those of them that ran in batches.
    pub batches: BatchSums,
}

impl Calls {
    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.ends.add(other.ends);
        self.cost.0 = self.cost.0.saturating_add(other.cost.0);
        self.ran = self.ran.saturating_add(other.ran);
        self.batches.add_all(&other.batches);
    }
}

/// How many calls ended in each way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ends([u64; Ending::ALL.len()]);

impl Ends {
    fn count(&mut self, ending: Ending) {
        self.0[ending as usize] += 1;
    }

    fn add(&mut self, other: Self) {
        for (own, more) in self.0.iter_mut().zip(other.0) {
            *own += more;
        }
    }

    /// Each way with its number.
    pub(crate) fn all(self) -> impl Iterator<Item = (Ending, u64)> {
        Ending::ALL.into_iter().zip(self.0)
    }
}

/// Sums over the calls of a function that ran in batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchSums {
    /// Batches. A call that ran again alone is a batch of its own.
    pub batches: u64,
    /// Calls in them.
    pub calls: u64,
    /// The costs of these calls, as `cost = …` computes them.
    pub cost: u64,
    /// Time from the start of each job until it was in the line.
    pub prepare: Duration,
    /// Time in the line.
    pub wait: Duration,
    /// Time that the batches ran, each counted once.
    pub run: Duration,
}

impl BatchSums {
    fn add(&mut self, run: &BatchRun) {
        self.calls += 1;
        self.cost = self.cost.saturating_add(run.cost);
        self.prepare = self.prepare.saturating_add(Duration::from_micros(run.prepare_us));
        self.wait = self.wait.saturating_add(Duration::from_micros(run.wait_us));
        if run.leads {
            self.batches += 1;
            self.run = self.run.saturating_add(Duration::from_micros(run.run_us));
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.batches += other.batches;
        self.calls += other.calls;
        self.cost = self.cost.saturating_add(other.cost);
        self.prepare = self.prepare.saturating_add(other.prepare);
        self.wait = self.wait.saturating_add(other.wait);
        self.run = self.run.saturating_add(other.run);
    }
}

/// How large, costly and slow the batches of a function were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct BatchClasses {
    /// Calls of each batch.
    pub size: SizeClasses,
    /// The cost of each batch.
    pub cost: SizeClasses,
    /// Of each call, as those in [`BatchSums`].
    pub prepare: Latencies,
    pub wait: Latencies,
    /// Of each batch.
    pub run: Latencies,
}

impl BatchClasses {
    fn add(&mut self, run: &BatchRun) {
        self.prepare.record(Duration::from_micros(run.prepare_us));
        self.wait.record(Duration::from_micros(run.wait_us));
        if run.leads {
            self.size.record(run.size.into());
            self.cost.record(run.total_cost);
            self.run.record(Duration::from_micros(run.run_us));
        }
    }

    fn add_all(&mut self, other: &Self) {
        let Self { size, cost, prepare, wait, run } = self;
        size.add(&other.size);
        cost.add(&other.cost);
        prepare.add(&other.prepare);
        wait.add(&other.wait);
        run.add(&other.run);
    }
}

/// How large things were: how many up to each power of two, 65,536 at most, and their sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SizeClasses {
    counts: [u64; Self::BOUNDS + 1],
    sum: u64,
}

impl SizeClasses {
    const BOUNDS: usize = 17;

    pub(crate) fn record(&mut self, size: u64) {
        // The power of two that it does not exceed.
        let class =
            size.max(1).checked_next_power_of_two().map_or(Self::BOUNDS, |bound| bound.ilog2() as usize);
        self.counts[class.min(Self::BOUNDS)] += 1;
        self.sum = self.sum.saturating_add(size);
    }

    fn add(&mut self, other: &Self) {
        for (own, more) in self.counts.iter_mut().zip(other.counts) {
            *own += more;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    pub(crate) fn sum(&self) -> u64 {
        self.sum
    }

    /// Each bound with how many were larger than the one before and not larger than it. The last bound is infinite.
    pub(crate) fn classes(&self) -> Vec<(f64, u64)> {
        let bounds = (0..Self::BOUNDS).map(|power| (1_u64 << power) as f64).chain([f64::INFINITY]);
        bounds.zip(self.counts).collect()
    }
}

/// How a job or request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Completed,
    Failed,
    /// A job that took longer than it may. Such a request has failed.
    TimedOut,
    /// Its client cancelled it, or left.
    Cancelled,
}

impl Ending {
    pub(crate) const ALL: [Self; 4] = [Self::Completed, Self::Failed, Self::TimedOut, Self::Cancelled];

    /// Its name in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How long calls and starts of workers took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// From the arrival of a call, or from its failed attempt, until a worker began with it. Calls that no worker had are
    /// not counted.
    pub waited: Latencies,
    /// That workers took for a call.
    pub ran: Latencies,
    /// From the start of a worker until it was ready.
    pub started: Latencies,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Tally {
    inner: Mutex<Inner>,
    /// How requests were answered, those that no worker had included.
    pub answers: Answers,
    /// The calls that ended lately.
    pub hops: Hops,
    /// The app's own metrics.
    pub app: AppMetrics,
}

#[derive(Default)]
struct Inner {
    completed: u64,
    /// Including jobs that timed out.
    failed: u64,
    times: Times,
    /// Workers that ended unasked.
    crashed: u64,
    /// The latest first.
    problems: VecDeque<Problem>,
    /// By call name, only for functions of a release, because callers can send any name.
    functions: HashMap<Box<str>, Function>,
    /// Everything without a known function, such as requests to a command.
    others: Calls,
    /// By the name of the model.
    models: GenerationsByModel,
}

struct Function {
    shown: Box<str>,
    calls: Calls,
    /// `None` until it has any.
    batches: Option<Box<BatchClasses>>,
}

impl Inner {
    fn calls(&mut self, function: Option<&str>) -> &mut Calls {
        match function.and_then(|function| self.functions.get_mut(function)) {
            Some(known) => &mut known.calls,
            None => &mut self.others,
        }
    }
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// A release has these functions: how code calls each, and how it is shown.
    pub(crate) fn name(&self, functions: impl Iterator<Item = (String, String)>) {
        let mut inner = self.lock();
        for (called, shown) in functions {
            let new = || Function { shown: shown.clone().into(), calls: Calls::default(), batches: None };
            inner.functions.entry(called.into()).or_insert_with(new).shown = shown.clone().into();
        }
    }

    /// Adds a share of a worker's cost to a function.
    pub(crate) fn charged(&self, function: Option<&str>, cost: NanoDollars) {
        let mut inner = self.lock();
        let calls = inner.calls(function);
        calls.cost.0 = calls.cost.0.saturating_add(cost.0);
    }

    /// A call ended after it waited and ran for so long. One that no worker had ran for no time.
    pub(crate) fn ended(&self, function: Option<&str>, ending: Ending, waited: Duration, ran: Duration) {
        let mut inner = self.lock();
        match ending {
            Ending::Completed => inner.completed += 1,
            Ending::Failed | Ending::TimedOut => inner.failed += 1,
            Ending::Cancelled => {}
        }
        if !ran.is_zero() {
            inner.times.waited.record(waited);
            inner.times.ran.record(ran);
        }
        let calls = inner.calls(function);
        calls.count += 1;
        calls.ends.count(ending);
        calls.ran = calls.ran.saturating_add(ran);
    }

    /// A call that has ended ran in this batch.
    pub(crate) fn ran_in_batch(&self, function: Option<&str>, run: &BatchRun) {
        let mut inner = self.lock();
        inner.calls(function).batches.add(run);
        if let Some(function) = function.and_then(|function| inner.functions.get_mut(function)) {
            function.batches.get_or_insert_default().add(run);
        }
    }

    /// A worker became ready, so long after its start.
    pub(crate) fn worker_started(&self, took: Duration) {
        self.lock().times.started.record(took);
    }

    /// A worker ended unasked.
    pub(crate) fn worker_crashed(&self) {
        self.lock().crashed += 1;
    }

    /// How long calls and starts of workers took.
    pub(crate) fn times(&self) -> Times {
        self.lock().times.clone()
    }

    /// Workers that ended unasked.
    pub(crate) fn crashed(&self) -> u64 {
        self.lock().crashed
    }

    /// Models did this for a request or job.
    pub(crate) fn generated(&self, models: &GenerationsByModel) {
        let mut inner = self.lock();
        for (model, more) in models {
            if let Some(sums) = inner.models.get_mut(model) {
                sums.add(more);
            } else if inner.models.len() < MAX_MODELS {
                inner.models.insert(model.clone(), more.clone());
            }
        }
    }

    /// What each model did, by name.
    pub(crate) fn models(&self) -> Vec<(String, Generations)> {
        self.lock().models.iter().map(|(model, sums)| (model.clone(), sums.clone())).collect()
    }

    /// The batches of each function that had any, by name.
    pub(crate) fn batch_classes(&self) -> Vec<(String, BatchClasses)> {
        let inner = self.lock();
        let mut all: BTreeMap<&str, BatchClasses> = BTreeMap::new();
        for function in inner.functions.values() {
            if let Some(batches) = &function.batches {
                all.entry(&function.shown).or_default().add_all(batches);
            }
        }
        all.into_iter().map(|(name, classes)| (name.to_owned(), classes)).collect()
    }

    /// The batches of each function that had any, by name.
    pub(crate) fn batches(&self) -> Vec<(String, BatchSums)> {
        let inner = self.lock();
        let functions = inner.functions.values().map(|function| (&function.shown, function.calls.batches));
        let had_any = functions.filter(|(_, sums)| sums.calls > 0);
        let mut all: Vec<(String, BatchSums)> =
            had_any.map(|(name, sums)| (name.to_string(), sums)).collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all
    }

    /// Something went wrong.
    pub(crate) fn record_problem(&self, message: &str, request_id: Option<&str>, worker: Option<&str>) {
        let problem = Problem {
            time: SystemTime::now(),
            message: message.chars().take(MAX_MESSAGE).collect(),
            request_id: request_id.map(str::to_owned),
            worker: worker.map(str::to_owned),
        };
        let mut inner = self.lock();
        inner.problems.truncate(KEPT_PROBLEMS - 1);
        inner.problems.push_front(problem);
    }

    /// Calls that completed, and those that failed or timed out.
    pub(crate) fn endings(&self) -> (u64, u64) {
        let inner = self.lock();
        (inner.completed, inner.failed)
    }

    /// The latest problems, the newest first.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.lock().problems.iter().cloned().collect()
    }

    /// The statistics of each called function. `others` is the label for everything else.
    pub(crate) fn calls(&self, others: &str) -> Vec<(String, Calls)> {
        let mut all = self.calls_of_all(others);
        all.retain(|(_, calls)| *calls != Calls::default());
        all
    }

    /// As [`Tally::calls`], with functions that were not called. Functions that are shown as the same, of several
    /// releases, are one.
    pub(crate) fn calls_of_all(&self, others: &str) -> Vec<(String, Calls)> {
        let inner = self.lock();
        let mut all: BTreeMap<&str, Calls> = BTreeMap::from([(others, inner.others)]);
        for function in inner.functions.values() {
            all.entry(&function.shown).or_default().add(&function.calls);
        }
        all.into_iter().map(|(name, calls)| (name.to_owned(), calls)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn calls_are_counted_by_function_and_those_of_unknown_names_together() {
        let tally = Tally::default();
        tally.name([("find".to_owned(), "GET /find/{id}".to_owned())].into_iter());
        for _ in 0..2 {
            tally.charged(Some("find"), NanoDollars(5));
            tally.ended(Some("find"), Ending::Completed, SECOND, SECOND);
        }
        for made_up in 0..1000 {
            tally.ended(Some(&made_up.to_string()), Ending::Failed, SECOND, SECOND);
        }
        tally.ended(None, Ending::Cancelled, SECOND, SECOND);
        let (completed, others) = (Ends([2, 0, 0, 0]), Ends([0, 1000, 0, 1]));
        let found =
            Calls { count: 2, ends: completed, cost: NanoDollars(10), ran: 2 * SECOND, ..Calls::default() };
        let others = Calls { count: 1001, ends: others, ran: 1001 * SECOND, ..Calls::default() };
        let expected = [("GET /find/{id}".to_owned(), found), ("job".to_owned(), others)];
        assert_eq!(tally.calls("job"), expected);
        assert_eq!(tally.endings(), (2, 1000));
    }

    #[test]
    fn a_job_that_timed_out_counts_among_the_failed_and_one_that_no_worker_had_has_no_times() {
        let tally = Tally::default();
        tally.ended(None, Ending::TimedOut, SECOND, Duration::ZERO);
        tally.ended(None, Ending::Completed, 2 * SECOND, 3 * SECOND);
        assert_eq!(tally.endings(), (1, 1));
        let Times { waited, ran, .. } = tally.times();
        assert_eq!((waited.count(), waited.sum(), ran.sum()), (1, 2 * SECOND, 3 * SECOND));
    }

    #[test]
    fn functions_of_two_releases_that_are_shown_as_the_same_are_one() {
        let tally = Tally::default();
        for called in ["old", "new"] {
            tally.name([(called.to_owned(), "GET /find".to_owned())].into_iter());
            tally.ended(Some(called), Ending::Completed, SECOND, SECOND);
            let run = BatchRun {
                size: 2,
                cost: 1,
                total_cost: 2,
                leads: true,
                prepare_us: 1,
                wait_us: 1,
                run_us: 1,
            };
            tally.ran_in_batch(Some(called), &run);
        }
        let calls = tally.calls("*");
        assert_eq!((calls.len(), calls[0].0.as_str(), calls[0].1.count), (1, "GET /find", 2));
        let [(name, classes)] = &tally.batch_classes()[..] else { panic!("{:?}", tally.batch_classes()) };
        assert_eq!((name.as_str(), classes.size.count(), classes.run.count()), ("GET /find", 2, 2));
    }

    #[test]
    fn batches_are_counted_once_and_their_calls_each() {
        let tally = Tally::default();
        tally.name(
            [("embed".to_owned(), "embed".to_owned()), ("other".to_owned(), "other".to_owned())].into_iter(),
        );
        for (cost, leads) in [(3, true), (5, false)] {
            let run =
                BatchRun { size: 2, cost, total_cost: 8, leads, prepare_us: 1, wait_us: 10, run_us: 100 };
            tally.ran_in_batch(Some("embed"), &run);
        }
        let micros = Duration::from_micros;
        let sums = BatchSums {
            batches: 1,
            calls: 2,
            cost: 8,
            prepare: micros(2),
            wait: micros(20),
            run: micros(100),
        };
        assert_eq!(tally.batches(), [("embed".to_owned(), sums)]);
        let classes = tally.batch_classes().remove(0).1;
        assert_eq!((classes.size.count(), classes.size.sum(), classes.cost.sum()), (1, 2, 8));
        assert_eq!((classes.wait.count(), classes.run.count()), (2, 1));
    }

    #[test]
    fn a_size_counts_up_to_the_power_of_two_that_it_does_not_exceed() {
        let mut sizes = SizeClasses::default();
        for size in [0, 1, 2, 3, 65_536, 65_537, u64::MAX] {
            sizes.record(size);
        }
        let classes = sizes.classes();
        assert_eq!(classes[..3], [(1.0, 2), (2.0, 1), (4.0, 1)]);
        assert_eq!(classes[16..], [(65_536.0, 1), (f64::INFINITY, 2)]);
    }

    #[test]
    fn models_are_counted_by_name_and_no_more_than_a_worker_type_can_have() {
        let tally = Tally::default();
        let one = Generations { stop: 1, prompt_tokens: 3, ..Generations::default() };
        for name in (0..MAX_MODELS + 5).chain([0]) {
            tally.generated(&GenerationsByModel::from([(format!("{name:03}"), one.clone())]));
        }
        let models = tally.models();
        assert_eq!((models.len(), models[0].1.prompt_tokens), (MAX_MODELS, 6));
    }

    #[test]
    fn the_last_five_problems_are_kept_the_newest_first_and_none_is_long() {
        let tally = Tally::default();
        for count in 0..7 {
            tally.record_problem(&count.to_string(), Some("r"), None);
        }
        let messages: Vec<String> = tally.problems().into_iter().map(|problem| problem.message).collect();
        assert_eq!(messages, ["6", "5", "4", "3", "2"]);
        tally.record_problem(&"é".repeat(1000), None, Some("w"));
        assert_eq!(tally.problems()[0].message.chars().count(), MAX_MESSAGE);
    }

    #[test]
    fn a_function_keeps_its_sums_when_the_next_release_names_it_anew() {
        let tally = Tally::default();
        tally.name([("f".to_owned(), "GET /old".to_owned())].into_iter());
        tally.ended(Some("f"), Ending::Completed, SECOND, SECOND);
        tally.name([("f".to_owned(), "GET /new".to_owned())].into_iter());
        let calls = tally.calls("job");
        assert_eq!((calls[0].0.as_str(), calls[0].1.count), ("GET /new", 1));
    }
}
