//! Jobs that run again after an error of their function.
use std::collections::BTreeMap;

use flash_protocol::{Error, Retries, wire::job::ErrorText};

use super::*;

fn limits(retries: Retries) -> Limits {
    Limits { retries: Arc::new(BTreeMap::from([("f".to_owned(), retries)])), ..Limits::default() }
}

fn call(origin: Origin) -> Submission {
    let envelope = Envelope { function: Some("f".to_owned().into()), ..Envelope::default() };
    Submission::new(origin, json("{}"), envelope)
}

fn error(error: &Error) -> Outcome {
    Outcome::Failed(ErrorText::of(error.to_wire(), "host").to_text())
}

fn busy() -> Outcome {
    error(&Error::retryable("busy"))
}

impl FakeWorker {
    fn fail(&self, queue: &Queue, job: &JobFrame, outcome: Outcome) -> Reported {
        queue.finish(&self.id, id_of(job), Some(job.attempt), outcome, None)
    }
}

/// Lets the time of a wait pass, and looks at what is due then.
fn pass(queue: &Bench, seconds: u64) {
    queue.advance(Duration::from_secs(seconds));
    queue.end_overdue();
}

const TWO: Retries = Retries::new(2).backoff(4, 60);

#[tokio::test]
async fn a_retryable_error_leads_to_another_attempt_after_a_wait_and_the_last_error_is_the_jobs() {
    let queue = Bench::with(limits(TWO));
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.submit(call(Origin::Run)).unwrap().id;
    for (attempt, least) in [(1, 2), (2, 4)] {
        let frame = worker.job().await;
        assert_eq!(frame.attempt, attempt);
        assert_eq!(worker.fail(&queue, &frame, busy()), Reported::Accepted);
        let waits = queue.peek(id).unwrap();
        assert_eq!((waits.status, waits.error), (InQueue, None));
        let next = waits.next_attempt.unwrap();
        assert_eq!((next.attempt, next.last_error.as_str()), (attempt + 1, "busy"));
        assert!((least * 1000..=least * 2000).contains(&next.wait_ms), "{next:?}");
        let wait = queue.next_attempt_in().unwrap();
        assert_eq!(wait.as_millis(), u128::from(next.wait_ms));
        let load = queue.load();
        assert_eq!((load.waiting, load.running, load.delayed), (0, 0, 1), "it is no load meanwhile");
        assert!(!queue.is_idle());
        pass(&queue, least - 1);
        assert_eq!(queue.load().delayed, 1, "not before its time");
        pass(&queue, least + 1);
        assert_eq!((status(&queue, id), queue.next_attempt_in()), (InProgress, None));
    }
    let last = worker.job().await;
    assert_eq!(worker.fail(&queue, &last, error(&Error::retryable("still busy"))), Reported::Accepted);
    let ended = queue.peek(id).unwrap();
    assert_eq!((ended.status, ended.retries, ended.next_attempt), (Failed, Some(2), None));
    assert!(ended.error.unwrap().contains("still busy"));
    let said: Vec<_> =
        queue.ends.lock().iter().map(|end| (end.status, end.next.map(|next| next.attempt))).collect();
    assert_eq!(said, [(Failed, Some(2)), (Failed, Some(3)), (Failed, None)]);
    assert_eq!((queue.totals().retried, queue.totals().failed), (2, 1));
}

#[tokio::test]
async fn what_is_not_retryable_ends_the_job_at_once() {
    let queue = Bench::with(limits(TWO));
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let wrong = [
        error(&Error::handler("no")),
        error(&Error::new(ErrorKind::Panic, "boom").into_retryable()),
        error(&Error::invalid_input("/x", "wrong").into_retryable()),
        Outcome::Failed("of a program that is not ours".into()),
    ];
    for outcome in wrong {
        let id = queue.submit(call(Origin::Run)).unwrap().id;
        let frame = worker.job().await;
        worker.fail(&queue, &frame, outcome);
        assert_eq!(status(&queue, id), Failed);
    }
    // Another function has no retries, and a caller may ask for none or for some.
    for (function, asked, expected) in
        [("g", None, Failed), ("f", Some(0), Failed), ("g", Some(1), InQueue), ("f", None, InQueue)]
    {
        let envelope =
            Envelope { function: Some(function.to_owned().into()), retries: asked, ..Envelope::default() };
        let id = queue.submit(Submission::new(Origin::Run, json("1"), envelope)).unwrap().id;
        let frame = worker.job().await;
        worker.fail(&queue, &frame, busy());
        assert_eq!(status(&queue, id), expected, "{function} {asked:?}");
    }
}

#[tokio::test]
async fn no_attempt_begins_after_the_ttl_or_the_callers_deadline() {
    let queue = Bench::with(limits(TWO));
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let seconds = |left| Submission { ttl: Some(Duration::from_secs(left)), ..call(Origin::Run) };
    let wall_ms = queue.now.load(Ordering::SeqCst) / 1000;
    let awaited = |left: u64| {
        let mut call = call(Origin::Call);
        call.envelope.deadline_ms = Some(wall_ms + left * 1000);
        call
    };
    for (submission, expected) in
        [(seconds(1), Failed), (seconds(60), InQueue), (awaited(1), Failed), (awaited(60), InQueue)]
    {
        let id = queue.submit(submission).unwrap().id;
        let frame = worker.job().await;
        worker.fail(&queue, &frame, busy());
        assert_eq!(status(&queue, id), expected);
    }
}

#[tokio::test]
async fn a_job_between_two_attempts_is_cancelled_purged_and_expires_like_one_that_waits() {
    let queue = Bench::with(limits(TWO));
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let mut delayed = Vec::new();
    for _ in 0..3 {
        let ttl = Some(Duration::from_secs(600));
        delayed.push(queue.submit(Submission { ttl, ..call(Origin::Run) }).unwrap().id);
        let frame = worker.job().await;
        worker.fail(&queue, &frame, busy());
    }
    queue.cancel(delayed[0]).unwrap();
    assert_eq!((status(&queue, delayed[0]), queue.load().delayed), (Cancelled, 2));
    assert_eq!(queue.purge().await, 2);
    assert_eq!((status(&queue, delayed[1]), queue.load().delayed), (Cancelled, 0));
    pass(&queue, 10);
    assert_eq!((queue.load().waiting, queue.load().running), (0, 0), "none of them comes back");
    let long = Retries::new(1).backoff(500, 500);
    let queue = Bench::with(limits(long));
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id =
        queue.submit(Submission { ttl: Some(Duration::from_secs(501)), ..call(Origin::Run) }).unwrap().id;
    let frame = worker.job().await;
    worker.fail(&queue, &frame, busy());
    // Its worker is gone by the time of the second attempt.
    queue.detach(&worker.id, "gone");
    pass(&queue, 500);
    assert_eq!(status(&queue, id), InQueue);
    pass(&queue, 2);
    assert!(queue.peek(id).is_none(), "its time to live is over");
}

#[tokio::test]
async fn a_failed_attempt_is_none_of_those_that_a_worker_may_die_at() {
    let queue = Bench::with(Limits { max_attempts: 2, ..limits(Retries::new(5).backoff(1, 1)) });
    let id = queue.submit(call(Origin::Run)).unwrap().id;
    for round in 0..3 {
        let mut worker = FakeWorker::attach(&queue, "w", 1);
        let frame = worker.job().await;
        worker.fail(&queue, &frame, busy());
        queue.detach(&worker.id, "stopped");
        pass(&queue, 1);
        assert_eq!(status(&queue, id), InQueue, "round {round}");
    }
    FakeWorker::attach(&queue, "w", 1).job().await;
    queue.detach(&"w".into(), "killed by SIGSEGV");
    assert_eq!(status(&queue, id), InQueue, "its first death");
    FakeWorker::attach(&queue, "w", 1).job().await;
    queue.detach(&"w".into(), "killed by SIGSEGV");
    assert!(queue.is_dead(id), "its second");
    // A client's retry gives it everything again.
    queue.retry(id).unwrap();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let frame = worker.job().await;
    assert_eq!(frame.attempt, 6);
    worker.fail(&queue, &frame, busy());
    assert_eq!(queue.load().delayed, 1);
}

#[tokio::test]
async fn who_waits_for_the_job_hears_of_its_last_attempt_only() {
    let queue = Bench::with(limits(Retries::new(1).backoff(1, 1)));
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let (end, mut ended) = oneshot::channel();
    let webhook = Some("http://127.0.0.1:1/hook".to_owned());
    let submission = Submission { waiter: Some(Waiter::Client(end)), webhook, ..call(Origin::RunSync) };
    let id = queue.submit(submission).unwrap().id;
    let frame = worker.job().await;
    worker.fail(&queue, &frame, busy());
    assert!(ended.try_recv().is_err());
    pass(&queue, 1);
    let frame = worker.job().await;
    assert!(worker.finish(&queue, &frame));
    let told = ended.await.unwrap();
    assert_eq!((told.id, told.status, told.retries), (id.to_string(), Completed, Some(1)));
    let mut queue = queue;
    assert_eq!(queue.webhooks.recv().await.unwrap().job.status, Completed);
    assert!(queue.webhooks.try_recv().is_err(), "one end, one webhook");
}

#[tokio::test]
async fn a_late_error_of_a_lost_attempt_postpones_nothing() {
    let queue = Bench::with(limits(TWO));
    let mut first = FakeWorker::attach(&queue, "first", 1);
    let id = queue.submit(call(Origin::Run)).unwrap().id;
    let lost = first.job().await;
    queue.detach(&"first".into(), "gone");
    let mut second = FakeWorker::attach(&queue, "second", 1);
    let again = second.job().await;
    assert_eq!(first.fail(&queue, &lost, busy()), Reported::Late);
    assert_eq!((status(&queue, id), queue.load().delayed), (InProgress, 0));
    assert!(second.finish(&queue, &again));
}

#[tokio::test]
async fn a_stream_that_a_client_may_have_read_is_not_run_again() {
    let queue = Bench::with(limits(TWO));
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.submit(call(Origin::Run)).unwrap().id;
    let frame = worker.job().await;
    queue.chunk(&worker.id, id, json("1").into());
    worker.fail(&queue, &frame, busy());
    assert_eq!(status(&queue, id), Failed);
}

#[tokio::test]
async fn a_restart_keeps_the_time_of_the_next_attempt_and_the_number_of_failures() {
    let limits = limits(Retries::new(2).backoff(100, 100));
    let bench = Bench::with(limits.clone());
    let mut worker = FakeWorker::attach(&bench, "w", 1);
    let id = bench.submit(call(Origin::Run)).unwrap().id;
    let frame = worker.job().await;
    worker.fail(&bench, &frame, busy());
    let left = bench.next_attempt_in().unwrap();
    bench.settings.store.close();
    let (store, mut backlog, ..) = Backlog::open(bench.directory.path(), Durability::Process).unwrap();
    let context = QueueContext {
        clock: Clock::Manual(bench.now.clone()),
        store,
        outbox: WebhookOutbox::new().0,
        budget: Budget::default(),
        traces: None,
    };
    let next = Queue::new("bench", 1, limits, &context, Box::new(|_| {}));
    next.adopt(&mut backlog, Claim::All);
    assert_eq!((status(&next, id), next.next_attempt_in(), next.load().waiting), (InQueue, Some(left), 0));
    let mut worker = FakeWorker::attach(&next, "v", 1);
    for attempt in [2, 3] {
        bench.advance(Duration::from_secs(100));
        next.end_overdue();
        let frame = worker.job().await;
        assert_eq!(frame.attempt, attempt);
        worker.fail(&next, &frame, busy());
    }
    assert_eq!(status(&next, id), Failed, "the first failure was not forgotten");
}

#[tokio::test]
async fn a_job_that_fails_in_a_replaced_release_runs_again_in_the_next_one() {
    let old = Bench::with(limits(TWO));
    let new = Arc::new(Queue::new("bench", 2, limits(TWO), &old.context, Box::new(|_| ())));
    let mut worker = FakeWorker::attach(&old, "old", 1);
    let (first, second) = (call(Origin::Run), call(Origin::Run));
    let id = old.submit(first).unwrap().id;
    let frame = worker.job().await;
    old.hand_over(&new).await;
    assert_eq!(worker.fail(&old, &frame, busy()), Reported::Accepted);
    assert!(old.is_idle() && !old.knows(id), "the old release need not wait for it");
    assert_eq!((new.load().delayed, status(&new, id)), (1, InQueue));
    // Where nothing will run it, the error is the job's.
    let only = Bench::with(limits(TWO));
    let mut worker = FakeWorker::attach(&only, "w", 1);
    let id = only.submit(second).unwrap().id;
    let frame = worker.job().await;
    only.give_up_waiting().await;
    worker.fail(&only, &frame, busy());
    assert_eq!(status(&only, id), Failed);
}
