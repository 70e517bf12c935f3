//! The queue against what it promises, without processes: workers are the ends of channels.
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use flash_sdk::wire::{
    envelope::Envelope,
    exchange::{self, JobFrame, Reader},
};
use tempfile::TempDir;
use tokio::io::DuplexStream;

use super::*;

/// A worker of ours as the queue sees it.
struct FakeWorker {
    id: WorkerId,
    reader: Reader<DuplexStream>,
    writing: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl FakeWorker {
    fn attach(queue: &Queue, id: &str, slots: u32) -> Self {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (frames, writing) = exchange::write(near);
        let id: WorkerId = id.into();
        queue.attach(&id, Link::Exchange(frames), slots, Account::free());
        Self { id, reader: exchange::read(far), writing: tokio::spawn(writing) }
    }

    async fn frame(&mut self) -> ToWorker {
        self.reader.next().await.unwrap().expect("the queue still talks to the worker")
    }

    async fn job(&mut self) -> JobFrame {
        match self.frame().await {
            ToWorker::Job(job) => job,
            other => panic!("a job was expected: {other:?}"),
        }
    }

    fn finish(&self, queue: &Queue, job: &JobFrame) -> bool {
        let outcome = Outcome::Completed(json("\"done\""));
        queue.finish(&self.id, id_of(job), Some(job.attempt), outcome, None) == Reported::Accepted
    }
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.writing.abort();
    }
}

fn json(text: &str) -> RawJson {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap()
}

fn id_of(job: &JobFrame) -> JobId {
    JobId::parse(&job.id).unwrap()
}

/// A queue with a store, a clock that the test sets, and what was told at the ends of jobs.
struct Bench {
    queue: Arc<Queue>,
    now: Arc<AtomicU64>,
    ends: Arc<Mutex<Vec<Ended>>>,
    told: tokio::sync::mpsc::Receiver<Tidings>,
    directory: TempDir,
}

impl std::ops::Deref for Bench {
    type Target = Arc<Queue>;

    fn deref(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Bench {
    fn with(limits: Limits) -> Self {
        let directory = TempDir::new().unwrap();
        let (store, _) = Backlog::open(directory.path(), Durability::Process).unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000_000_000));
        let (teller, told) = Teller::new();
        let ends: Arc<Mutex<Vec<Ended>>> = Arc::default();
        let seen = ends.clone();
        let context = QueueContext { clock: Clock::Manual(now.clone()), store, teller };
        let on_end = Box::new(move |ended| seen.lock().unwrap().push(ended));
        let queue = Arc::new(Queue::new("bench", limits, &context, on_end));
        Self { queue, now, ends, told, directory }
    }

    fn advance(&self, time: Duration) {
        self.now.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }

    fn run(&self, input: &str) -> JobId {
        self.submit(job(input)).unwrap().id
    }
}

fn queue() -> Bench {
    Bench::with(Limits::default())
}

fn job(text: &str) -> Submission {
    Submission::new(Origin::Run, json(text), Envelope::default())
}

fn status(queue: &Queue, id: JobId) -> JobStatus {
    queue.peek(id).unwrap().status
}

use flash_sdk::wire::job::JobStatus::{Cancelled, Completed, Failed, InProgress, InQueue, TimedOut};

#[tokio::test]
async fn a_job_waits_for_a_worker_and_ends_with_its_result() {
    let queue = queue();
    let id = queue.run("1");
    assert_eq!(status(&queue, id), InQueue);
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let frame = worker.job().await;
    assert_eq!((frame.id.as_str(), frame.attempt, frame.input.get()), (id.to_string().as_str(), 1, "1"));
    assert_eq!(status(&queue, id), InProgress);
    assert!(worker.finish(&queue, &frame));
    let object = queue.peek(id).unwrap();
    assert_eq!((object.status, object.output.unwrap().get()), (Completed, "\"done\""));
    assert!(object.worker_id.is_some() && object.delay_time.is_some() && object.execution_time.is_some());
}

#[tokio::test]
async fn a_worker_gets_no_more_jobs_than_it_has_slots() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    for _ in 0..3 {
        queue.run("{}");
    }
    let (first, _second) = (worker.job().await, worker.job().await);
    assert_eq!((queue.load().waiting, queue.load().running), (1, 2));
    worker.finish(&queue, &first);
    worker.job().await;
    assert_eq!(queue.load().waiting, 0);
}

#[tokio::test]
async fn a_lost_job_goes_to_another_worker_and_the_late_result_is_refused() {
    let queue = queue();
    let id = queue.run("{}");
    let mut first = FakeWorker::attach(&queue, "first", 1);
    let lost = first.job().await;
    queue.detach(&"first".into(), "gone");
    let mut second = FakeWorker::attach(&queue, "second", 1);
    let again = second.job().await;
    assert_eq!((again.id.as_str(), again.attempt), (lost.id.as_str(), 2));
    assert!(!first.finish(&queue, &lost), "the first attempt's lease is over");
    assert_eq!(status(&queue, id), InProgress);
    assert!(second.finish(&queue, &again));
    assert!(!second.finish(&queue, &again), "a result counts once");
    assert_eq!(queue.peek(id).unwrap().retries, Some(1));
}

#[tokio::test]
async fn a_job_that_kills_its_workers_fails_with_the_reason() {
    let queue = Bench::with(Limits { max_attempts: 2, ..Limits::default() });
    let id = queue.run("{}");
    for name in ["a", "b"] {
        FakeWorker::attach(&queue, name, 1).job().await;
        queue.detach(&name.into(), "killed by SIGSEGV");
    }
    let error = queue.peek(id).unwrap().error.unwrap();
    assert_eq!(status(&queue, id), Failed);
    assert!(error.contains("2 attempts") && error.contains("SIGSEGV"), "{error}");
    assert_eq!(queue.ends.lock().unwrap().len(), 1, "told once");
    assert!(queue.is_idle());
}

#[tokio::test]
async fn a_retried_job_is_safe_from_the_end_of_its_stopped_attempt() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    let short = Submission { execution_timeout: Some(Duration::from_secs(1)), ..job("{}") };
    let id = queue.submit(short).unwrap().id;
    let stopped = worker.job().await;
    queue.advance(Duration::from_secs(2));
    queue.end_overdue();
    assert!(matches!(worker.frame().await, ToWorker::Stop(frame) if frame.attempt == 1));
    queue.retry(id).unwrap();
    let again = worker.job().await;
    assert_eq!((again.id.as_str(), again.attempt), (stopped.id.as_str(), 2));
    assert!(!worker.finish(&queue, &stopped), "the first attempt winds down now");
    assert_eq!((status(&queue, id), queue.load().takers[0].1), (InProgress, 1));
    assert!(worker.finish(&queue, &again));
    assert_eq!(queue.retry(id), Err(ChangeError::NotFailed));
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let queue = Bench::with(Limits { max_waiting: 2, ..Limits::default() });
    queue.run("{}");
    queue.run("{}");
    assert_eq!(queue.submit(job("{}")).unwrap_err().to_string(), "2 jobs wait already");
    assert_eq!(queue.purge(), 2);
    queue.run("{}");
}

#[tokio::test]
async fn a_cancelled_job_stops_on_its_worker_and_keeps_the_slot_until_it_lets_go() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.run("{}");
    let running = worker.job().await;
    let waiting = queue.run("{}");
    queue.cancel(id).unwrap();
    assert_eq!(status(&queue, id), Cancelled);
    assert!(matches!(worker.frame().await, ToWorker::Stop(stopped) if stopped.id == running.id));
    assert_eq!(status(&queue, waiting), InQueue, "the slot is not free yet");
    assert!(!worker.finish(&queue, &running), "a cancelled job stays cancelled");
    assert_eq!(worker.job().await.id, waiting.to_string());
    assert_eq!(queue.cancel(id), Err(ChangeError::Ended));
    assert_eq!(queue.cancel(JobId::of_run()), Err(ChangeError::Unknown));
}

#[tokio::test]
async fn a_job_over_its_time_is_stopped_and_a_worker_that_holds_on_is_named() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let short = Submission { execution_timeout: Some(Duration::from_secs(10)), ..job("{}") };
    let id = queue.submit(short).unwrap().id;
    let running = worker.job().await;
    queue.advance(Duration::from_secs(9));
    queue.end_overdue();
    assert_eq!(status(&queue, id), InProgress);
    queue.advance(Duration::from_secs(2));
    queue.end_overdue();
    assert_eq!(status(&queue, id), TimedOut);
    assert!(matches!(worker.frame().await, ToWorker::Stop(_)));
    let later = Instant::now() + Duration::from_secs(1);
    assert!(matches!(queue.stuck(later).as_slice(), [Stuck { worker, .. }] if &**worker == "w"));
    assert!(!worker.finish(&queue, &running), "it lets go, which frees the slot and changes nothing else");
    assert!(queue.stuck(later).is_empty());
}

#[tokio::test]
async fn a_job_whose_neighbour_had_to_be_killed_does_not_pay_for_it() {
    let queue = Bench::with(Limits { max_attempts: 1, ..Limits::default() });
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    let (stuck, innocent) = (queue.run("1"), queue.run("2"));
    worker.job().await;
    worker.job().await;
    queue.cancel(stuck).unwrap();
    queue.detach(&"w".into(), "killed by SIGKILL");
    assert_eq!((status(&queue, stuck), status(&queue, innocent)), (Cancelled, InQueue));
    let mut next = FakeWorker::attach(&queue, "v", 1);
    let again = next.job().await;
    assert_eq!((id_of(&again), again.attempt), (innocent, 2));
    queue.detach(&"v".into(), "killed by SIGSEGV");
    assert_eq!(status(&queue, innocent), Failed, "this death is its own");
}

#[tokio::test]
async fn results_are_forgotten_when_their_time_is_over() {
    let queue = Bench::with(Limits { max_kept_sync: 1, ..Limits::default() });
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let mut ids = Vec::new();
    for origin in [Origin::Run, Origin::RunSync, Origin::RunSync] {
        ids.push(queue.submit(Submission { origin, ..job("{}") }).unwrap().id);
        let frame = worker.job().await;
        worker.finish(&queue, &frame);
    }
    assert!(queue.peek(ids[1]).is_none(), "only the latest answer that was waited for is kept");
    queue.advance(Duration::from_secs(2 * 60));
    queue.end_overdue();
    assert!(queue.peek(ids[2]).is_none() && queue.peek(ids[0]).is_some());
    queue.advance(Duration::from_secs(31 * 60));
    queue.end_overdue();
    assert!(queue.peek(ids[0]).is_none());
}

#[tokio::test]
async fn a_job_whose_time_to_live_is_over_is_gone_wherever_it_is() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let ttl = Some(Duration::from_secs(60));
    let running = queue.submit(Submission { ttl, ..job("1") }).unwrap().id;
    worker.job().await;
    let (end, ended) = oneshot::channel();
    let waited = Submission { ttl, waiter: Some(Waiter::Client(end)), origin: Origin::RunSync, ..job("2") };
    let waiting = queue.submit(waited).unwrap().id;
    queue.advance(Duration::from_secs(61));
    queue.end_overdue();
    assert!(queue.peek(running).is_none() && queue.peek(waiting).is_none());
    assert!(matches!(worker.frame().await, ToWorker::Stop(frame) if frame.id == running.to_string()));
    assert_eq!(ended.await.unwrap().status, TimedOut, "who waits hears of it");
    assert!(queue.is_idle());
}

#[tokio::test]
async fn low_priority_comes_last_and_is_counted_apart() {
    let queue = queue();
    let low = queue.submit(Submission { low_priority: true, ..job("1") }).unwrap().id;
    let normal = queue.run("2");
    let load = queue.load();
    assert_eq!((load.waiting, load.low_priority), (1, 1));
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    assert_eq!((id_of(&worker.job().await), id_of(&worker.job().await)), (normal, low));
}

#[tokio::test]
async fn the_same_key_is_the_same_job_and_another_input_is_refused() {
    let queue = queue();
    let keyed = |input| Submission { idempotency_key: Some("order-7".into()), ..job(input) };
    let first = queue.submit(keyed("1")).unwrap();
    let again = queue.submit(keyed("1")).unwrap();
    assert_eq!((again.id, again.idempotency), (first.id, Idempotency::Repeated));
    assert!(matches!(queue.submit(keyed("2")), Err(SubmitError::KeyInUse(id)) if id == first.id));
    queue.cancel(first.id).unwrap();
    assert_eq!(queue.submit(keyed("1")).unwrap().id, first.id, "as long as the job is known");
    queue.advance(Duration::from_secs(31 * 60));
    queue.end_overdue();
    assert_ne!(queue.submit(keyed("2")).unwrap().id, first.id);
}

#[tokio::test]
async fn inputs_that_wait_are_bounded_in_bytes() {
    let queue = Bench::with(Limits { max_waiting_bytes: 10, ..Limits::default() });
    let first = queue.run("\"123456\"");
    assert!(matches!(queue.submit(job("\"123456\"")), Err(SubmitError::TooManyBytes { .. })));
    queue.cancel(first).unwrap();
    queue.run("\"123456\"");
}

#[tokio::test]
async fn dead_jobs_are_listed_and_start_anew() {
    let queue = Bench::with(Limits { max_attempts: 1, ..Limits::default() });
    let id = queue.run("{}");
    FakeWorker::attach(&queue, "w", 1).job().await;
    queue.detach(&"w".into(), "exit code 3");
    assert!(queue.is_dead(id));
    assert_eq!(queue.dead(10)[0].id, id.to_string());
    queue.retry(id).unwrap();
    assert!(queue.dead(10).is_empty());
    let mut worker = FakeWorker::attach(&queue, "v", 1);
    let frame = worker.job().await;
    assert!(worker.finish(&queue, &frame));
    assert_eq!(status(&queue, id), Completed);
}

#[tokio::test]
async fn jobs_are_listed_by_what_is_asked_for() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let ids: Vec<JobId> = (0..5).map(|_| queue.run("{}")).collect();
    let frame = worker.job().await;
    worker.finish(&queue, &frame);
    let waiting = Filter { status: Some(InQueue), ..Filter::default() };
    let page = queue.page(&waiting, None, 2);
    let listed = |page: &listing::Page| page.jobs.iter().map(|job| job.id.clone()).collect::<Vec<_>>();
    assert_eq!(listed(&page), [ids[4].to_string(), ids[3].to_string()]);
    let rest = queue.page(&waiting, page.next, 10);
    assert_eq!((listed(&rest), rest.next), (vec![ids[2].to_string()], None));
    let of_worker = Filter { worker: Some("w".into()), ..Filter::default() };
    assert_eq!(queue.page(&of_worker, None, 10).jobs.len(), 2, "the ended and the running one");
}

#[tokio::test]
async fn a_webhook_is_told_once_of_the_end() {
    let mut queue = queue();
    let id = queue.submit(Submission { webhook: Some("http://x/".into()), ..job("7") }).unwrap().id;
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let frame = worker.job().await;
    worker.finish(&queue, &frame);
    let tidings = queue.told.recv().await.unwrap();
    assert_eq!((tidings.job.id.as_str(), tidings.job.status), (id.to_string().as_str(), Completed));
    assert_eq!((tidings.url.as_str(), tidings.input.get()), ("http://x/", "7"));
    assert!(queue.told.try_recv().is_err());
}

#[tokio::test]
async fn what_waits_goes_on_in_the_next_release() {
    let (old, new) = (queue(), queue());
    let ids = [old.run("1"), old.run("2")];
    old.hand_over(&new);
    assert!(old.is_idle() && old.peek(ids[0]).is_none());
    let late = old.run("3");
    assert_eq!(status(&new, late), InQueue, "a client that was slow to send it");
    assert_eq!(old.status(late).await.unwrap().unwrap().status, InQueue);
    let mut worker = FakeWorker::attach(&new, "w", 2);
    assert_eq!([id_of(&worker.job().await), id_of(&worker.job().await)], ids);
}

#[tokio::test]
async fn a_poll_takes_up_to_what_it_asks_for_and_an_abandoned_one_nothing() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, Link::Polling, 1, Account::free());
    let abandoned = queue.take(&worker, 1, Duration::from_secs(600));
    tokio::time::timeout(Duration::from_millis(1), abandoned).await.unwrap_err();
    for _ in 0..3 {
        queue.run("{}");
    }
    assert_eq!(queue.load().waiting, 3, "nobody polls");
    let taken = queue.take(&worker, 2, Duration::from_secs(600)).await;
    assert_eq!(taken.len(), 2);
    let done = |taken: &Taken| {
        queue.finish(&worker, taken.id, None, Outcome::Completed(json("1")), None) == Reported::Accepted
    };
    assert!(taken.iter().all(done), "a foreign worker does not know the attempt");
    let rest = queue.take(&worker, 8, Duration::from_secs(600)).await;
    assert_eq!(rest.len(), 1);
    assert!(queue.take(&worker, 1, Duration::ZERO).await.is_empty());
}

#[tokio::test]
async fn who_waits_is_told_when_no_worker_starts_and_who_does_not_stays() {
    let queue = queue();
    let (end, ended) = oneshot::channel();
    let waited = Submission { waiter: Some(Waiter::Client(end)), origin: Origin::RunSync, ..job("{}") };
    let waited = queue.submit(waited).unwrap().id;
    let stays = queue.run("{}");
    queue.fail_waiting(&WireError::new(ErrorKind::NoWorker, "exit code 1"));
    assert_eq!(ended.await.unwrap().status, Failed);
    assert_eq!((status(&queue, waited), status(&queue, stays)), (Failed, InQueue));
}

#[tokio::test]
async fn a_stream_is_drained_and_ends_with_the_rest() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.run("{}");
    let frame = worker.job().await;
    queue.chunk(&worker.id, id, json("1"));
    let first = queue.stream(id, Duration::from_secs(600)).await.unwrap().unwrap();
    assert_eq!((first.status, first.chunks.len()), (InProgress, 1));
    let held = tokio::spawn({
        let queue = queue.queue.clone();
        async move { queue.stream(id, Duration::from_secs(600)).await.unwrap().unwrap() }
    });
    queue.chunk(&worker.id, id, json("2"));
    let second = held.await.unwrap();
    assert_eq!(second.chunks[0].get(), "2");
    queue.chunk(&worker.id, id, json("3"));
    worker.finish(&queue, &frame);
    let last = queue.stream(id, Duration::ZERO).await.unwrap().unwrap();
    assert_eq!((last.status, last.chunks.len()), (Completed, 1));
}

#[tokio::test]
async fn attempts_on_workers_that_were_ended_on_purpose_do_not_count() {
    let queue = queue();
    let id = queue.run("{}");
    for attempt in 1..=5 {
        let mut worker = FakeWorker::attach(&queue, "w", 1);
        assert_eq!(worker.job().await.attempt, attempt, "each has a number of its own");
        queue.detach_stopped(&worker.id, "killed for another job");
        assert_eq!(status(&queue, id), InQueue);
    }
    for _ in 0..3 {
        let mut worker = FakeWorker::attach(&queue, "w", 1);
        worker.job().await;
        queue.detach(&worker.id, "exit code 1");
    }
    assert_eq!(status(&queue, id), Failed);
}

#[tokio::test]
async fn a_polling_worker_lets_go_of_stopped_jobs_by_its_next_poll() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, Link::Polling, 4, Account::free());
    let ids: Vec<JobId> = (0..2).map(|_| queue.run("{}")).collect();
    let taken = queue.take(&worker, 4, Duration::from_secs(600)).await;
    assert_eq!(taken.len(), 2);
    queue.cancel(ids[0]).unwrap();
    let later = Instant::now() + Duration::from_secs(60);
    assert_eq!(queue.stuck(later).len(), 1, "nothing shows that it let go");
    // It runs one of four, so it asks for three.
    assert!(queue.take(&worker, 3, Duration::ZERO).await.is_empty());
    assert_eq!(queue.stuck(later), []);
    assert_eq!(status(&queue, ids[1]), InProgress, "the other one goes on");

    queue.cancel(ids[1]).unwrap();
    queue.runs_nothing(&worker);
    assert_eq!(queue.stuck(later), []);
    assert!(queue.load().takers[0].2.is_some(), "it is idle");
}

#[tokio::test]
async fn an_open_poll_is_answered_so_that_the_next_one_shows_what_runs() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, Link::Polling, 2, Account::free());
    let id = queue.run("{}");
    assert_eq!(queue.take(&worker, 2, Duration::from_secs(600)).await.len(), 1);
    let open = tokio::spawn({
        let (queue, worker) = (queue.queue.clone(), worker.clone());
        async move { queue.take(&worker, 1, Duration::from_secs(600)).await }
    });
    tokio::task::yield_now().await;
    queue.cancel(id).unwrap();
    let grace = Limits::default().stop_grace;
    let soon = Instant::now() + grace + Duration::from_millis(1);
    assert_eq!(queue.stuck(soon), [], "it gets time for another poll");
    assert!(open.await.unwrap().is_empty());
    assert!(queue.take(&worker, 2, Duration::ZERO).await.is_empty());
    assert_eq!(queue.stuck(soon + Duration::from_secs(60)), []);
}

#[tokio::test]
async fn a_result_is_late_only_where_the_attempt_was_lost() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.run("{}");
    let frame = worker.job().await;
    let report = |worker: &WorkerId| {
        queue.finish(worker, id, Some(frame.attempt), Outcome::Completed(json("1")), None)
    };
    queue.cancel(id).unwrap();
    assert_eq!(report(&worker.id), Reported::LetGo, "as it was told");
    assert_eq!(report(&worker.id), Reported::Late);
    assert_eq!(report(&"gone".into()), Reported::Late);
}

#[tokio::test]
async fn a_listing_tells_nothing_that_a_crash_undoes() {
    let limits = Limits { max_attempts: 1, ..Limits::default() };
    let queue = Bench::with(limits.clone());
    let (finished, dead) = (queue.run("1"), queue.run("2"));
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let frame = worker.job().await;
    worker.finish(&queue, &frame);
    worker.job().await;
    queue.detach(&worker.id, "killed");
    let page = queue.stored_page(&Filter::default(), None, 10).await.unwrap();
    assert_eq!(page.jobs.iter().map(|job| job.status).collect::<Vec<_>>(), [Failed, Completed]);
    assert_eq!(queue.stored_dead(10).await.unwrap().len(), 1);
    queue.setting.store.crash();
    let (store, mut backlog) = Backlog::open(queue.directory.path(), Durability::Process).unwrap();
    let context = QueueContext { clock: Clock::Manual(queue.now.clone()), store, teller: Teller::new().0 };
    let next = Queue::new("bench", limits, &context, Box::new(|_| {}));
    next.adopt(&mut backlog);
    assert_eq!((status(&next, finished), status(&next, dead)), (Completed, Failed));
    assert!(next.is_dead(dead));
}
