//! Tests the queue and its store against a small model, with random operations, crashes and jumping clocks.
//!
//! The model knows what clients were promised, and predicts every answer between two crashes. A crash may lose what
//! no client has received. So after a crash, each job must be in a state that it had since a client last received
//! its state, and promised jobs must exist.
//!
//! It has over 600 lines: each operation is made, applied and predicted here, and to read one you need all three.
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use flash_protocol::{
    Error,
    wire::{
        RawJson,
        envelope::Envelope,
        job::{ErrorText, JobStatus},
    },
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{clock::Clock, state::JobState, *};
use crate::{meter::Account, worker_id::WorkerId};

const MINUTE: u64 = 60_000_000;
const WORKERS: usize = 3;

#[derive(Debug, Clone)]
enum Op {
    Submit { key: Option<u8>, input: u8, low: bool, ttl_minutes: u64 },
    Attach(usize),
    Take(usize),
    Finish { worker: usize, which: usize, how: How },
    Die(usize),
    Cancel(usize),
    Retry(usize),
    Observe(usize),
    Advance { minutes: u64 },
    Crash { jump_minutes: i64 },
}

/// What a worker reports.
#[derive(Debug, Clone, Copy)]
enum How {
    Well,
    Badly,
    /// With an error after which it may run again.
    Retryably,
}

/// Attempts after the first one, which every job asks for. The first wait is up to a second, so two that failed in the
/// same minute are due in the order of their random waits.
const RETRIES: u32 = 2;

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (prop::option::weighted(0.3, 0..3_u8), 0..2_u8, any::<bool>(), 20..60_u64)
            .prop_map(|(key, input, low, ttl_minutes)| Op::Submit { key, input, low, ttl_minutes }),
        2 => (0..WORKERS).prop_map(Op::Attach),
        8 => (0..WORKERS).prop_map(Op::Take),
        6 => (0..WORKERS, 0..8_usize, prop_oneof![Just(How::Well), Just(How::Badly), Just(How::Retryably)])
            .prop_map(|(worker, which, how)| Op::Finish { worker, which, how }),
        2 => (0..WORKERS).prop_map(Op::Die),
        2 => (0..16_usize).prop_map(Op::Cancel),
        2 => (0..16_usize).prop_map(Op::Retry),
        3 => (0..16_usize).prop_map(Op::Observe),
        1 => (0..15_u64).prop_map(|minutes| Op::Advance { minutes }),
        2 => (-30..30_i64).prop_map(|jump_minutes| Op::Crash { jump_minutes }),
    ]
}

/// A job as the model has it.
#[derive(Debug, Clone)]
struct Expected {
    status: JobStatus,
    dead: bool,
    low: bool,
    key: Option<u8>,
    input: u8,
    ttl: u64,
    expires: u64,
    forget: u64,
    attempts: u32,
    attempts_before: u32,
    failures: u32,
    /// When its next attempt is due, if it waits for that.
    delayed: Option<u64>,
    /// It was aboard when a worker died.
    suspect: bool,
    leased_at: u64,
    /// Statuses since a client was last answered, and its expiry in each: a crash may restore any of them.
    since_shown: Vec<(JobStatus, u64)>,
}

impl Expected {
    fn deadline(&self) -> u64 {
        if self.status.is_final() { self.forget } else { self.expires }
    }

    /// A crash leads back to what is stored, and that a job runs is not.
    fn remember(&mut self) {
        let stored = if self.status == JobStatus::InProgress { JobStatus::InQueue } else { self.status };
        self.since_shown.push((stored, self.deadline()));
    }
}

#[derive(Debug, Clone)]
struct Held {
    job: JobId,
    attempt: u32,
    /// When it was asked to stop, as a count of such requests.
    stopping: Option<u32>,
    alone: bool,
}

/// The waiting jobs of one priority: suspects run alone, and 64 others go before each of them.
#[derive(Default)]
struct PriorityClass {
    clear: VecDeque<JobId>,
    suspects: VecDeque<JobId>,
    passed: u32,
    emptying: Option<usize>,
}

impl PriorityClass {
    fn of(&mut self, suspect: bool) -> &mut VecDeque<JobId> {
        if suspect { &mut self.suspects } else { &mut self.clear }
    }

    fn len(&self) -> usize {
        self.clear.len() + self.suspects.len()
    }

    fn next(&mut self, worker: usize, empty: bool) -> Result<JobId, Blocked> {
        let due = !self.suspects.is_empty() && (self.clear.is_empty() || self.passed >= 64);
        if due && empty {
            (self.passed, self.emptying) = (0, None);
            return Ok(self.suspects[0]);
        }
        if due && *self.emptying.get_or_insert(worker) == worker {
            return Err(Blocked::UntilEmpty);
        }
        let first = self.clear.front().copied().ok_or(Blocked::Nothing)?;
        self.passed = if self.suspects.is_empty() { 0 } else { self.passed + 1 };
        Ok(first)
    }
}

/// Why a worker gets no job of a rank.
#[derive(PartialEq)]
enum Blocked {
    UntilEmpty,
    Nothing,
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<JobId, Expected>,
    /// Deleted ones: until that is stored, a crash brings them back.
    gone: BTreeMap<JobId, Expected>,
    normal: PriorityClass,
    low: PriorityClass,
    workers: [Option<Vec<Held>>; WORKERS],
    /// Jobs that each may have: what it has asked for at most.
    slots: [usize; WORKERS],
    stops: u32,
    /// Attempts that were lost: their results must be refused.
    stale: Vec<(usize, JobId, u32)>,
}

impl Model {
    fn line(&mut self, low: bool, suspect: bool) -> &mut VecDeque<JobId> {
        if low { &mut self.low } else { &mut self.normal }.of(suspect)
    }

    fn next_for(&mut self, worker: usize) -> Option<JobId> {
        let held = self.workers[worker].as_ref()?;
        if held.iter().any(|held| held.alone) {
            return None;
        }
        let empty = held.is_empty();
        match self.normal.next(worker, empty) {
            Err(Blocked::Nothing) => self.low.next(worker, empty).ok(),
            next => next.ok(),
        }
    }

    fn set(&mut self, id: JobId, status: JobStatus) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.status = status;
        job.remember();
        job.delayed = None;
        let (low, suspect) = (job.low, job.suspect);
        if status != JobStatus::InQueue {
            self.line(low, suspect).retain(|own| *own != id);
        }
    }

    fn end(&mut self, id: JobId, status: JobStatus, dead: bool, now: u64) {
        self.set(id, status);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.dead = dead;
            job.since_shown.pop();
            job.forget = now + if dead { 7 * 24 * 60 * MINUTE } else { 30 * MINUTE };
            job.remember();
        }
    }

    fn stop_attempt(&mut self, id: JobId) {
        self.stops += 1;
        for held in self.workers.iter_mut().flatten().flatten() {
            if held.job == id && self.jobs[&id].attempts == held.attempt {
                held.stopping.get_or_insert(self.stops);
            }
        }
    }

    fn remove(&mut self, id: JobId) {
        if let Some(job) = self.jobs.remove(&id) {
            self.line(job.low, job.suspect).retain(|own| *own != id);
            self.gone.insert(id, job);
        }
    }

    /// What the passing of time does: timeouts first, then ends of lives.
    fn pass(&mut self, now: u64) {
        let all: Vec<JobId> = self.jobs.keys().copied().collect();
        for id in &all {
            let job = &self.jobs[id];
            let overdue = job.status == JobStatus::InProgress && now - job.leased_at > 10 * MINUTE;
            let holds = |held: &Held| held.job == *id && held.attempt == job.attempts;
            if overdue && self.workers.iter().flatten().flatten().any(holds) {
                self.stop_attempt(*id);
                self.end(*id, JobStatus::TimedOut, false, now);
            }
        }
        for id in all {
            let job = &self.jobs[&id];
            if job.deadline() <= now {
                if job.status == JobStatus::InProgress {
                    self.stop_attempt(id);
                }
                self.remove(id);
            }
        }
        self.wake(now);
    }

    /// Those whose next attempt is due queue up, the earliest first.
    fn wake(&mut self, now: u64) {
        let due = |(id, job): (&JobId, &Expected)| Some((job.delayed.filter(|due| *due <= now)?, *id));
        let mut due: Vec<(u64, JobId)> = self.jobs.iter().filter_map(due).collect();
        due.sort_unstable();
        for (_, id) in due {
            let job = self.jobs.get_mut(&id).expect("it was just seen");
            job.delayed = None;
            let (low, suspect) = (job.low, job.suspect);
            self.line(low, suspect).push_back(id);
        }
    }

    fn pick(&self, index: usize) -> Option<JobId> {
        let count = self.jobs.len();
        (count > 0).then(|| *self.jobs.keys().nth(index % count).expect("within the count"))
    }
}

/// The queue under test, the model, and a clock.
struct Pair {
    directory: TempDir,
    now: Arc<AtomicU64>,
    queue: Queue,
    model: Model,
}

fn open(directory: &TempDir, now: &Arc<AtomicU64>) -> Queue {
    let (store, mut backlog, ..) = Backlog::open(directory.path(), Durability::Process).unwrap();
    let (outbox, _) = WebhookOutbox::new();
    let context = QueueContext {
        clock: Clock::Manual(now.clone()),
        store,
        outbox,
        budget: Budget::default(),
        traces: None,
    };
    let limits = Limits { execution_timeout: Duration::from_secs(600), ..Limits::default() };
    let queue = Queue::new("model", 1, limits, &context, Box::new(|_| {}));
    queue.adopt(&mut backlog, Claim::All);
    queue
}

fn worker_id(index: usize) -> WorkerId {
    format!("w{index}").into()
}

fn json(text: &str) -> RawJson {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap()
}

impl Pair {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000 * MINUTE));
        let queue = open(&directory, &now);
        Self { directory, now, queue, model: Model::default() }
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    async fn perform(&mut self, op: Op) {
        match op {
            Op::Submit { key, input, low, ttl_minutes } => self.submit(key, input, low, ttl_minutes).await,
            Op::Attach(worker) => {
                if self.model.workers[worker].is_none() {
                    self.queue.attach(&worker_id(worker), DeliveryMode::Polling, 1, Account::free());
                    self.model.workers[worker] = Some(Vec::new());
                    self.model.slots[worker] = 1;
                }
            }
            Op::Take(worker) => self.take(worker).await,
            Op::Finish { worker, which, how } => self.finish(worker, which, how),
            Op::Die(worker) => self.die(worker),
            Op::Cancel(index) => {
                let Some(id) = self.model.pick(index) else { return };
                let expected = match self.model.jobs[&id].status.is_final() {
                    true => Err(ChangeError::Ended),
                    false => Ok(()),
                };
                assert_eq!(self.queue.cancel(id), expected);
                if expected.is_ok() {
                    self.model.stop_attempt(id);
                    self.model.end(id, JobStatus::Cancelled, false, self.now());
                }
            }
            Op::Retry(index) => self.retry(index),
            Op::Observe(index) => {
                let Some(id) = self.model.pick(index) else { return };
                let told = self.queue.status(id).await.unwrap().unwrap();
                let job = self.model.jobs.get_mut(&id).unwrap();
                assert_eq!(told.status, job.status);
                let last = job.since_shown.pop();
                job.since_shown = last.into_iter().collect();
            }
            Op::Advance { minutes } => {
                self.now.fetch_add(minutes * MINUTE, Ordering::SeqCst);
                self.queue.end_overdue();
                self.model.pass(self.now());
            }
            Op::Crash { jump_minutes } => self.crash(jump_minutes),
        }
    }

    async fn submit(&mut self, key: Option<u8>, input: u8, low: bool, ttl_minutes: u64) {
        let known = key.and_then(|key| self.model.jobs.iter().find(|(_, job)| job.key == Some(key)));
        let known = known.map(|(id, job)| (*id, job.input));
        let submission = Submission {
            idempotency_key: key.map(|key| format!("key-{key}")),
            low_priority: low,
            ttl: Some(Duration::from_secs(ttl_minutes * 60)),
            ..Submission::new(
                Origin::Run,
                json(&input.to_string()),
                Envelope { retries: Some(RETRIES), ..Envelope::default() },
            )
        };
        match (self.queue.submit(submission), known) {
            (Err(SubmitError::KeyInUse(id)), Some((known, of))) => {
                assert!(id == known && of != input);
            }
            (Ok(submitted), Some((known, of))) => {
                assert_eq!((submitted.id, of, submitted.idempotency), (known, input, Idempotency::Repeated));
            }
            (Ok(submitted), None) => {
                self.queue.stored(&submitted).await.unwrap();
                let now = self.now();
                let job = Expected {
                    status: JobStatus::InQueue,
                    dead: false,
                    low,
                    key,
                    input,
                    ttl: ttl_minutes * MINUTE,
                    expires: now + ttl_minutes * MINUTE,
                    forget: 0,
                    attempts: 0,
                    attempts_before: 0,
                    failures: 0,
                    delayed: None,
                    suspect: false,
                    leased_at: 0,
                    since_shown: vec![(JobStatus::InQueue, now + ttl_minutes * MINUTE)],
                };
                self.model.jobs.insert(submitted.id, job);
                self.model.line(low, false).push_back(submitted.id);
            }
            (other, known) => panic!("{other:?} for {known:?}"),
        }
    }

    async fn take(&mut self, worker: usize) {
        let taken = self.queue.take(&worker_id(worker), 1, Duration::ZERO).await;
        let Some(held) = &mut self.model.workers[worker] else {
            assert!(taken.is_empty());
            return;
        };
        // A worker that asks for more jobs than it has free slots has released the jobs that it was asked to stop.
        let slots = &mut self.model.slots[worker];
        for _ in *slots..=held.len() {
            let first = held.iter().filter_map(|held| held.stopping).min();
            held.retain(|held| held.stopping.is_none() || held.stopping != first);
        }
        *slots = (*slots).max(held.len() + 1);
        let next = self.model.next_for(worker);
        assert_eq!(taken.first().map(|job| job.id), next);
        let Some(id) = next else { return };
        let job = self.model.jobs.get_mut(&id).unwrap();
        job.attempts += 1;
        job.leased_at = self.now.load(Ordering::SeqCst);
        assert_eq!(taken[0].attempt, job.attempts);
        let held = self.model.workers[worker].as_mut().unwrap();
        held.push(Held { job: id, attempt: job.attempts, stopping: None, alone: job.suspect });
        self.model.set(id, JobStatus::InProgress);
    }

    fn finish(&mut self, worker: usize, which: usize, how: How) {
        let outcome = match how {
            How::Well => Outcome::Completed(json("1").into()),
            How::Badly => Outcome::Failed("no".into()),
            How::Retryably => {
                Outcome::Failed(ErrorText::of(Error::retryable("busy").to_wire(), "host").to_text())
            }
        };
        let status = outcome.status();
        let held = self.model.workers[worker].as_mut().filter(|held| !held.is_empty());
        let (worker, id, attempt) = match held {
            Some(held) => {
                let held = held.remove(which % held.len());
                (worker, held.job, held.attempt)
            }
            None if self.model.stale.is_empty() => return,
            None => self.model.stale[which % self.model.stale.len()],
        };
        let current = self.model.jobs.get(&id).filter(|job| {
            let lost = self.model.stale.contains(&(worker, id, attempt));
            job.status == JobStatus::InProgress && job.attempts == attempt && !lost
        });
        let expected = current.is_some();
        let reported = self.queue.finish(&worker_id(worker), id, Some(attempt), outcome, None);
        assert_eq!(reported == Reported::Accepted, expected);
        if !expected {
            return;
        }
        let now = self.now();
        let job = &self.model.jobs[&id];
        // Waits are at most two seconds long, and no job here has so little time left that it is not whole minutes.
        if !matches!(how, How::Retryably) || job.failures == RETRIES {
            self.model.end(id, status, false, now);
            return;
        }
        let until = self.queue.lock().jobs.get(id).unwrap().delayed_until().map(|until| until.0);
        let wait = until.expect("it has another attempt") - now;
        let longest = 1_000_000 << job.failures;
        assert!((longest / 2..=longest).contains(&wait), "{wait}");
        self.model.set(id, JobStatus::InQueue);
        let job = self.model.jobs.get_mut(&id).unwrap();
        job.failures += 1;
        job.attempts_before += 1;
        job.delayed = until;
    }

    fn die(&mut self, worker: usize) {
        self.queue.detach(&worker_id(worker), "killed");
        for rank in [&mut self.model.normal, &mut self.model.low] {
            rank.emptying = rank.emptying.filter(|emptying| *emptying != worker);
        }
        let Some(mut held) = self.model.workers[worker].take() else { return };
        let counts = !held.iter().any(|held| held.stopping.is_some());
        let in_company = held.len() > 1;
        if !counts {
            held.reverse();
        }
        for held in held {
            self.model.stale.push((worker, held.job, held.attempt));
            let Some(job) = self.model.jobs.get_mut(&held.job) else { continue };
            if job.status != JobStatus::InProgress || job.attempts != held.attempt {
                continue;
            }
            let was_last = job.attempts - job.attempts_before >= 3;
            if counts && was_last && !in_company {
                self.model.end(held.job, JobStatus::Failed, true, self.now());
                continue;
            }
            job.attempts_before += u32::from(!counts || was_last);
            job.suspect |= counts;
            let (low, suspect) = (job.low, job.suspect);
            self.model.set(held.job, JobStatus::InQueue);
            let line = self.model.line(low, suspect);
            if suspect { line.push_back(held.job) } else { line.push_front(held.job) }
        }
    }

    fn retry(&mut self, index: usize) {
        let Some(id) = self.model.pick(index) else { return };
        let now = self.now();
        let job = self.model.jobs.get_mut(&id).unwrap();
        if !matches!(job.status, JobStatus::Failed | JobStatus::TimedOut) {
            assert_eq!(self.queue.retry(id), Err(ChangeError::NotFailed));
            return;
        }
        assert_eq!(self.queue.retry(id), Ok(()));
        job.attempts_before = job.attempts;
        job.failures = 0;
        job.expires = now + job.ttl;
        job.dead = false;
        job.suspect = false;
        let low = job.low;
        self.model.set(id, JobStatus::InQueue);
        self.model.line(low, false).push_back(id);
    }

    fn crash(&mut self, jump_minutes: i64) {
        self.queue.settings.store.crash();
        // Jobs that may have killed the platform are tested separately, in `guard`.
        let file = rusqlite::Connection::open(self.directory.path().join("jobs.sqlite")).unwrap();
        file.execute("UPDATE life SET is_open = 0", []).unwrap();
        drop(file);
        let jump = jump_minutes * i64::try_from(MINUTE).unwrap();
        self.now.store(self.now().saturating_add_signed(jump), Ordering::SeqCst);
        self.queue = open(&self.directory, &self.now);
        self.model.workers = Default::default();
        self.model.stale.clear();
        (self.model.normal, self.model.low) = Default::default();
        // The store may contain any state since clients were last answered; the model continues from there.
        let gone = std::mem::take(&mut self.model.gone);
        let (back, gone) = gone.into_iter().partition(|(id, _)| self.queue.knows(*id));
        self.model.gone = gone;
        self.model.jobs.extend::<BTreeMap<_, _>>(back);
        let now = self.now();
        self.model.jobs.retain(|id, job| match self.queue.peek(*id) {
            Some(found) => {
                let was = job.since_shown.iter().any(|(status, _)| *status == found.status);
                assert!(was, "{id} is {}: {job:?}", found.status.as_str());
                job.status = found.status;
                true
            }
            None => {
                let was_due = job.since_shown.iter().any(|(_, deadline)| *deadline <= now);
                assert!(was_due, "{id} was promised: {job:?}");
                self.model.gone.insert(*id, job.clone());
                false
            }
        });
        let inner = self.queue.lock();
        for (id, job) in &mut self.model.jobs {
            let entry = inner.jobs.get(*id).unwrap();
            assert!(entry.attempts <= job.attempts && entry.low_priority == job.low);
            assert_eq!(entry.input.text().get(), job.input.to_string());
            job.dead = matches!(entry.state, JobState::Done(Outcome::Dead(_)));
            job.attempts = entry.attempts;
            job.attempts_before = entry.attempts_before;
            job.failures = entry.failures;
            job.delayed = entry.delayed_until().map(|until| until.0);
            job.suspect = job.attempts > job.attempts_before;
            if job.status.is_final() {
                job.forget = entry.timer.0;
            } else {
                job.expires = entry.timer.0;
            }
            assert_eq!(entry.ttl, Duration::from_micros(job.ttl));
            job.since_shown.clear();
            job.remember();
        }
        drop(inner);
        for (id, job) in &self.model.jobs {
            if job.status == JobStatus::InQueue && job.delayed.is_none() {
                let rank = if job.low { &mut self.model.low } else { &mut self.model.normal };
                rank.of(job.suspect).push_back(*id);
            }
        }
    }

    fn agree(&self) {
        let listed = self.queue.page(&Filter::default(), None, 1000).jobs;
        let known: Vec<String> = self.model.jobs.keys().rev().map(ToString::to_string).collect();
        assert_eq!(listed.iter().map(|job| job.id.clone()).collect::<Vec<_>>(), known);
        let load = self.queue.load();
        let running = self.model.jobs.values().filter(|job| job.status == JobStatus::InProgress).count();
        assert_eq!(
            (load.waiting, load.low_priority, load.running),
            (self.model.normal.len(), self.model.low.len(), running)
        );
        for (id, job) in &self.model.jobs {
            assert_eq!(self.queue.peek(*id).map(|own| own.status), Some(job.status), "{id}");
        }
        let dead = self.model.jobs.values().filter(|job| job.dead).count();
        assert_eq!(self.queue.dead(1000).len(), dead);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_agrees_with_its_model_across_crashes(ops in prop::collection::vec(any_op(), 0..160)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut pair = Pair::new();
            for op in ops {
                pair.perform(op).await;
                pair.agree();
            }
            pair.queue.settings.store.close();
        });
    }
}
