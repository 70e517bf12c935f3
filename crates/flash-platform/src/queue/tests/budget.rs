//! The memory of jobs: counted completely, limited, and released.
use proptest::prelude::*;

use super::{super::MAX_SHOWN_INPUT, *};

/// Room for a few jobs with data of this length.
const DATA: usize = 100_000;

fn text(length: usize) -> String {
    format!("\"{}\"", "x".repeat(length))
}

/// A queue whose platform may hold `limit` bytes.
fn holding(limit: usize) -> (Bench, Budget) {
    let budget = Budget::of(limit);
    (Bench::holding(Limits::default(), budget.clone()), budget)
}

fn is_refused(queue: &Bench, submission: Submission) -> bool {
    match queue.submit(submission) {
        Ok(_) => false,
        Err(SubmitError::BudgetExceeded(_)) => true,
        Err(other) => panic!("{other}"),
    }
}

/// The memory of a queue's jobs, counted again.
fn counted(queue: &Queue) -> usize {
    let inner = queue.lock();
    let entries = inner.jobs.newest_first(None);
    entries
        .map(|(id, entry)| {
            assert_eq!(entry.held.bytes(), entry.weight(), "{id}");
            entry.weight()
        })
        .sum()
}

#[tokio::test]
async fn everything_that_a_job_carries_counts_against_one_budget() {
    type Fill = fn(&mut Submission);
    let parts: [(&str, Fill); 4] = [
        ("input", |job| job.input = json(&text(DATA)).into()),
        ("s3Config", |job| job.s3_config = Some(text(DATA))),
        ("webhook", |job| job.webhook = Some(text(DATA))),
        ("key", |job| job.idempotency_key = Some(text(DATA))),
    ];
    for (what, fill) in parts {
        let (queue, budget) = holding(2 * DATA + DATA / 2);
        let large = || {
            let mut submission = job("{}");
            fill(&mut submission);
            submission
        };
        let first = queue.submit(large()).unwrap().id;
        assert!(budget.held() > DATA, "{what}: {}", budget.held());
        if what != "key" {
            assert!(!is_refused(&queue, large()), "{what}");
            assert!(is_refused(&queue, large()), "{what}");
        }
        // Also what runs holds it.
        let _worker = FakeWorker::attach(&queue, "w", 1);
        assert!(budget.held() > DATA, "{what}: {}", budget.held());
        queue.cancel(first).unwrap();
    }
}

#[tokio::test]
async fn all_worker_types_of_a_platform_share_one_budget() {
    let (one, budget) = holding(2 * DATA + DATA / 2);
    let other = Bench::holding(Limits::default(), budget.clone());
    one.run(&text(DATA));
    other.run(&text(DATA));
    assert!(is_refused(&one, job(&text(DATA))) && is_refused(&other, job(&text(DATA))));
    drop(other);
    assert!(!is_refused(&one, job(&text(DATA))));
}

#[tokio::test]
async fn a_result_is_taken_when_nothing_new_is_and_stays_as_long_as_promised() {
    let (queue, budget) = holding(3 * DATA);
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.run("{}");
    let taken = worker.job().await;
    let result = Outcome::Completed(json(&text(4 * DATA)).into());
    assert_eq!(queue.finish(&worker.id, id, Some(taken.attempt), result, None), Reported::Accepted);
    assert!(is_refused(&queue, job("{}")), "{} of {}", budget.held(), budget.limit());
    queue.end_overdue();
    assert_eq!(queue.peek(id).unwrap().output.unwrap().get().len(), 4 * DATA + 2);
    queue.advance(Duration::from_secs(31 * 60));
    queue.end_overdue();
    assert!(!is_refused(&queue, job("{}")));
}

#[tokio::test]
async fn a_small_input_stays_to_be_looked_at_while_there_is_room() {
    let (queue, budget) = holding(4 * DATA);
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let mut completed = async |input: &str| {
        let id = queue.run(input);
        let taken = worker.job().await;
        queue.finish(&worker.id, id, Some(taken.attempt), Outcome::Completed(json("1").into()), None);
        id
    };
    let shown = |id| queue.input(id).map(|input| input.get().to_owned());
    let small = completed(r#"{"n":7}"#).await;
    let null = completed("null").await;
    let large = completed(&text(MAX_SHOWN_INPUT - 1)).await;
    let largest = completed(&text(MAX_SHOWN_INPUT - 2)).await;
    assert_eq!(shown(small).as_deref(), Some(r#"{"n":7}"#));
    assert_eq!(shown(null).as_deref(), Some("null"), "an input of null is not one that was dropped");
    assert_eq!(shown(large), None);
    assert_eq!(shown(largest), Some(text(MAX_SHOWN_INPUT - 2)));
    queue.drain(&worker.id);
    queue.run(&text(2 * DATA));
    assert!(budget.is_half_used());
    let mut other = FakeWorker::attach(&queue, "other", 1);
    assert_eq!(other.job().await.input.to_json().get(), text(2 * DATA), "what runs needs its input");
    let late = queue.run(r#"{"n":8}"#);
    queue.cancel(late).unwrap();
    assert_eq!((shown(late), shown(small).is_some()), (None, true));
}

#[tokio::test]
async fn results_whose_client_has_them_and_then_dead_jobs_make_room() {
    let (queue, _budget) = holding(4 * DATA);
    let dead = queue.run(&text(DATA));
    for name in ["a", "b", "c"] {
        FakeWorker::attach(&queue, name, 1).job().await;
        queue.detach(&name.into(), "killed by SIGSEGV");
    }
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let (end, ended) = oneshot::channel();
    let waiter = Some(Waiter::Client(end));
    let waited = Submission { waiter, ..Submission::new(Origin::RunSync, json("{}"), Envelope::default()) };
    let waited = queue.submit(waited).unwrap().id;
    let taken = worker.job().await;
    queue.finish(&worker.id, waited, Some(taken.attempt), Outcome::Completed(json(&text(DATA)).into()), None);
    ended.await.unwrap();
    queue.drain(&worker.id);
    queue.run(&text(DATA));
    assert!(queue.knows(waited) && queue.knows(dead));
    queue.run(&text(DATA));
    assert!(!queue.knows(waited) && queue.knows(dead), "its client has it");
    queue.run(&text(DATA));
    assert!(!queue.knows(dead), "what waits to be looked at goes before new work is refused");
    assert!(is_refused(&queue, job(&text(DATA))));
}

#[tokio::test]
async fn a_runsync_whose_wait_ran_out_is_kept_like_a_job_of_run() {
    let limits = Limits { max_kept_sync: 1, ..Limits::default() };
    let queue = Bench::holding(limits, Budget::of(4 * DATA));
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let waited = || Submission::new(Origin::RunSync, json("{}"), Envelope::default());
    let mut ended = async |is_kept: bool| {
        let id = queue.submit(waited()).unwrap().id;
        let taken = worker.job().await;
        if is_kept {
            queue.keep(id).await.unwrap();
        }
        queue.finish(&worker.id, id, Some(taken.attempt), Outcome::Completed(json(&text(DATA)).into()), None);
        id
    };
    let (kept, first, second) = (ended(true).await, ended(false).await, ended(false).await);
    assert_eq!([kept, first, second].map(|id| queue.knows(id)), [true, false, true]);
    // Neither does a lack of room take it.
    queue.drain(&worker.id);
    queue.run(&text(2 * DATA + DATA / 2));
    assert!(queue.knows(kept) && !queue.knows(second));
    assert_eq!(status(&queue, kept), Completed);
    assert!(is_refused(&queue, job(&text(DATA))));
    queue.advance(Duration::from_secs(31 * 60));
    queue.end_overdue();
    assert!(!queue.knows(kept));
}

#[tokio::test]
async fn a_refused_job_finds_room_that_another_worker_type_can_spare() {
    let (full, budget) = holding(2 * DATA);
    let other = Bench::holding(Limits::default(), budget);
    let dead = full.run(&text(DATA));
    for name in ["a", "b", "c"] {
        FakeWorker::attach(&full, name, 1).job().await;
        full.detach(&name.into(), "killed by SIGSEGV");
    }
    assert!(is_refused(&other, job(&text(DATA))));
    full.end_overdue();
    assert!(!full.knows(dead));
    assert!(!is_refused(&other, job(&text(DATA))));
}

#[tokio::test]
async fn calls_of_running_jobs_have_room_when_clients_have_none() {
    let (queue, _budget) = holding(20 * DATA);
    while !is_refused(&queue, job(&text(DATA))) {}
    let call = || Submission::new(Origin::Call, json(&text(DATA)), Envelope::default());
    assert!(!is_refused(&queue, call()));
    while !is_refused(&queue, call()) {}
}

#[tokio::test]
async fn an_end_that_waits_for_its_webhook_counts_until_it_is_told() {
    let (mut queue, budget) = holding(10 * DATA);
    let empty = budget.held();
    let notified = Submission { webhook: Some("http://127.0.0.1:1/".into()), ..job(&text(DATA)) };
    let id = queue.submit(notified).unwrap().id;
    let waiting = budget.held();
    queue.cancel(id).unwrap();
    assert!(budget.held() > waiting, "the webhook repeats the input");
    queue.advance(Duration::from_secs(31 * 60));
    queue.end_overdue();
    assert!(!queue.knows(id) && budget.held() > DATA);
    drop(queue.webhooks.recv().await.unwrap());
    assert_eq!(budget.held(), empty);
}

#[derive(Debug, Clone)]
enum Op {
    Submit { origin: u8, input: usize, extra: usize, webhook: bool },
    Take,
    Chunk(usize),
    Progress(usize),
    Stream(usize),
    Finish { length: usize, well: bool },
    Die,
    Cancel(usize),
    Retry(usize),
    Purge,
    Advance(u64),
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..3_u8, 0..5_000_usize, 0..5_000_usize, any::<bool>())
            .prop_map(|(origin, input, extra, webhook)| Op::Submit { origin, input, extra, webhook }),
        6 => Just(Op::Take),
        3 => (0..3_000_usize).prop_map(Op::Chunk),
        2 => (0..3_000_usize).prop_map(Op::Progress),
        2 => (0..8_usize).prop_map(Op::Stream),
        4 => (0..8_000_usize, any::<bool>()).prop_map(|(length, well)| Op::Finish { length, well }),
        2 => Just(Op::Die),
        2 => (0..8_usize).prop_map(Op::Cancel),
        2 => (0..8_usize).prop_map(Op::Retry),
        1 => Just(Op::Purge),
        2 => (0..40_u64).prop_map(Op::Advance),
    ]
}

/// A queue, one polling worker, and what the worker runs.
struct Ledger {
    queue: Bench,
    known: Vec<JobId>,
    running: Option<LeasedJob>,
}

impl Ledger {
    fn pick(&self, index: usize) -> Option<JobId> {
        (!self.known.is_empty()).then(|| self.known[index % self.known.len()])
    }

    async fn perform(&mut self, op: Op) {
        let worker: WorkerId = "w".into();
        match (op, self.running.as_ref().map(|taken| (taken.id, taken.attempt))) {
            (Op::Submit { origin, input, extra, webhook }, _) => {
                let origin = [Origin::Run, Origin::RunSync, Origin::Call][usize::from(origin)];
                let submission = Submission {
                    s3_config: (extra > 0).then(|| text(extra)),
                    webhook: webhook.then(|| "http://127.0.0.1:1/".to_owned()),
                    ttl: Some(Duration::from_secs(3600)),
                    ..Submission::new(origin, json(&text(input)), Envelope::default())
                };
                self.known.extend(self.queue.submit(submission).ok().map(|submitted| submitted.id));
            }
            (Op::Take, None) => {
                self.running = self.queue.take(&worker, 1, Duration::ZERO).await.pop();
            }
            (Op::Chunk(length), Some((id, _))) => {
                self.queue.chunk(&worker, id, json(&text(length)).into());
            }
            (Op::Progress(length), Some((id, _))) => self.queue.progress(&worker, id, json(&text(length))),
            (Op::Stream(index), _) => {
                if let Some(id) = self.pick(index) {
                    self.queue.stream(id, Duration::ZERO).await.unwrap();
                }
            }
            (Op::Finish { length, well }, Some((id, attempt))) => {
                let outcome = match well {
                    true => Outcome::Completed(json(&text(length)).into()),
                    false => Outcome::FailedWith(text(length), json("1")),
                };
                self.queue.finish(&worker, id, Some(attempt), outcome, None);
                self.running = None;
            }
            (Op::Die, _) => {
                self.queue.detach(&worker, "killed");
                self.queue.attach(&worker, DeliveryMode::Polling, 1, Account::free());
                self.running = None;
            }
            // Whether they fit the job's state is not the question here.
            (Op::Cancel(index), _) => drop(self.pick(index).map(|id| self.queue.cancel(id))),
            (Op::Retry(index), _) => drop(self.pick(index).map(|id| self.queue.retry(id))),
            (Op::Purge, _) => drop(self.queue.purge().await),
            (Op::Advance(minutes), _) => {
                self.queue.advance(Duration::from_secs(minutes * 60));
                self.queue.end_overdue();
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_counted_is_always_what_is_held_and_returns_to_zero(
        ops in prop::collection::vec(any_op(), 0..120),
        tell_at in 0..120_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (queue, budget) = holding(60_000);
            queue.attach(&"w".into(), DeliveryMode::Polling, 1, Account::free());
            let mut ledger = Ledger { queue, known: Vec::new(), running: None };
            let mut waiting = Vec::new();
            for (index, op) in ops.into_iter().enumerate() {
                ledger.perform(op).await;
                while let Ok(ended) = ledger.queue.webhooks.try_recv() {
                    waiting.push(ended);
                }
                if index == tell_at {
                    waiting.clear();
                }
                let undelivered: usize = waiting.iter().map(|ended| ended._held.bytes()).sum();
                assert_eq!(budget.held(), counted(&ledger.queue) + undelivered);
            }
            ledger.queue.settings.store.close();
            drop((ledger, waiting));
            assert_eq!(budget.held(), 0);
        });
    }
}
