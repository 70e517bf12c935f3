//! The queue against what it promises, without processes: workers are the ends of channels.
use std::sync::{Arc, Mutex};

use flash_sdk::wire::exchange::{self, JobFrame, Reader};
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
        queue.attach(&id, Link::Exchange(frames), slots);
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
        queue.finish(&self.id, &job.id.as_str().into(), Some(job.attempt), outcome, None)
            == Reported::Accepted
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

fn queue_with(limits: Limits) -> (Arc<Queue>, Arc<Mutex<Vec<Ended>>>) {
    let ends: Arc<Mutex<Vec<Ended>>> = Arc::default();
    let seen = ends.clone();
    (Arc::new(Queue::new(limits, Box::new(move |ended| seen.lock().unwrap().push(ended)))), ends)
}

fn queue() -> Arc<Queue> {
    queue_with(Limits::default()).0
}

fn job(text: &str) -> Submission {
    Submission {
        input: json(text),
        envelope: Envelope::default(),
        execution_timeout: None,
        waiter: None,
        sync: false,
    }
}

fn status(queue: &Queue, id: &JobId) -> flash_sdk::wire::job::JobStatus {
    queue.status(id).unwrap().status
}

use flash_sdk::wire::job::JobStatus::{Cancelled, Completed, Failed, InProgress, InQueue, TimedOut};

#[tokio::test]
async fn a_job_waits_for_a_worker_and_ends_with_its_result() {
    let queue = queue();
    let id = queue.submit(job("1")).unwrap();
    assert_eq!(status(&queue, &id), InQueue);
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let frame = worker.job().await;
    assert_eq!((frame.id.as_str(), frame.attempt, frame.input.get()), (id.to_string().as_str(), 1, "1"));
    assert_eq!(status(&queue, &id), InProgress);
    assert!(worker.finish(&queue, &frame));
    let object = queue.status(&id).unwrap();
    assert_eq!((object.status, object.output.unwrap().get()), (Completed, "\"done\""));
    assert!(object.worker_id.is_some() && object.delay_time.is_some() && object.execution_time.is_some());
}

#[tokio::test]
async fn a_worker_gets_no_more_jobs_than_it_has_slots() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    for _ in 0..3 {
        queue.submit(job("{}")).unwrap();
    }
    let (first, _second) = (worker.job().await, worker.job().await);
    assert_eq!((queue.load(Instant::now()).waiting, queue.load(Instant::now()).running), (1, 2));
    worker.finish(&queue, &first);
    worker.job().await;
    assert_eq!(queue.load(Instant::now()).waiting, 0);
}

#[tokio::test]
async fn a_lost_job_goes_to_another_worker_and_the_late_result_is_refused() {
    let queue = queue();
    let id = queue.submit(job("{}")).unwrap();
    let mut first = FakeWorker::attach(&queue, "first", 1);
    let lost = first.job().await;
    queue.detach(&"first".into(), "gone");
    let mut second = FakeWorker::attach(&queue, "second", 1);
    let again = second.job().await;
    assert_eq!((again.id.as_str(), again.attempt), (lost.id.as_str(), 2));
    assert!(!first.finish(&queue, &lost), "the first attempt's lease is over");
    assert_eq!(status(&queue, &id), InProgress);
    assert!(second.finish(&queue, &again));
    assert!(!second.finish(&queue, &again), "a result counts once");
    assert_eq!(queue.status(&id).unwrap().retries, Some(1));
}

#[tokio::test]
async fn a_job_that_kills_its_workers_fails_with_the_reason() {
    let (queue, ends) = queue_with(Limits { max_attempts: 2, ..Limits::default() });
    let id = queue.submit(job("{}")).unwrap();
    for name in ["a", "b"] {
        FakeWorker::attach(&queue, name, 1).job().await;
        queue.detach(&name.into(), "killed by SIGSEGV");
    }
    let error = queue.status(&id).unwrap().error.unwrap();
    assert_eq!(status(&queue, &id), Failed);
    assert!(error.contains("2 attempts") && error.contains("SIGSEGV"), "{error}");
    assert_eq!(ends.lock().unwrap().len(), 1, "told once");
    assert!(queue.is_idle());
}

#[tokio::test]
async fn a_retried_job_is_safe_from_the_end_of_its_stopped_attempt() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    let short = Submission { execution_timeout: Some(Duration::from_secs(1)), ..job("{}") };
    let id = queue.submit(short).unwrap();
    let stopped = worker.job().await;
    queue.end_overdue(Instant::now() + Duration::from_secs(2));
    assert!(matches!(worker.frame().await, ToWorker::Stop(frame) if frame.attempt == 1));
    queue.retry(&id).unwrap();
    let again = worker.job().await;
    assert_eq!((again.id.as_str(), again.attempt), (stopped.id.as_str(), 2));
    assert!(!worker.finish(&queue, &stopped), "the first attempt winds down now");
    assert_eq!((status(&queue, &id), queue.load(Instant::now()).takers[0].1), (InProgress, 1));
    assert!(worker.finish(&queue, &again));
    assert_eq!(queue.retry(&id), Err(ChangeError::NotFailed));
}

#[tokio::test]
async fn a_full_queue_refuses() {
    let (queue, _) = queue_with(Limits { max_waiting: 2, ..Limits::default() });
    queue.submit(job("{}")).unwrap();
    queue.submit(job("{}")).unwrap();
    assert_eq!(queue.submit(job("{}")).unwrap_err().waiting, 2);
    assert_eq!(queue.purge(), 2);
    queue.submit(job("{}")).unwrap();
}

#[tokio::test]
async fn a_cancelled_job_stops_on_its_worker_and_keeps_the_slot_until_it_lets_go() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.submit(job("{}")).unwrap();
    let running = worker.job().await;
    let waiting = queue.submit(job("{}")).unwrap();
    queue.cancel(&id).unwrap();
    assert_eq!(status(&queue, &id), Cancelled);
    assert!(matches!(worker.frame().await, ToWorker::Stop(stopped) if stopped.id == running.id));
    assert_eq!(status(&queue, &waiting), InQueue, "the slot is not free yet");
    assert!(!worker.finish(&queue, &running), "a cancelled job stays cancelled");
    assert_eq!(worker.job().await.id, waiting.to_string());
    assert_eq!(queue.cancel(&id), Err(ChangeError::Ended));
    assert_eq!(queue.cancel(&"nope".into()), Err(ChangeError::Unknown));
}

#[tokio::test]
async fn a_job_over_its_time_is_stopped_and_a_worker_that_holds_on_must_go() {
    let (queue, _) = queue_with(Limits { stop_grace: Duration::from_secs(5), ..Limits::default() });
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let short = Submission { execution_timeout: Some(Duration::from_secs(10)), ..job("{}") };
    let id = queue.submit(short).unwrap();
    worker.job().await;
    let now = Instant::now();
    assert!(queue.end_overdue(now + Duration::from_secs(9)).is_empty());
    assert_eq!(status(&queue, &id), InProgress);
    queue.end_overdue(now + Duration::from_secs(11));
    assert_eq!(status(&queue, &id), TimedOut);
    assert!(matches!(worker.frame().await, ToWorker::Stop(_)));
    assert!(queue.end_overdue(Instant::now()).is_empty());
    let stuck = queue.end_overdue(Instant::now() + Duration::from_secs(6));
    assert!(
        matches!(&stuck[..], [Stuck { worker, stopping_for }]
        if &**worker == "w" && *stopping_for > Duration::from_secs(5)),
        "{stuck:?}"
    );
}

#[tokio::test]
async fn results_are_forgotten_when_their_time_is_over() {
    let (queue, _) = queue_with(Limits { max_kept_sync: 1, ..Limits::default() });
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let mut ids = Vec::new();
    for sync in [false, true, true] {
        ids.push(queue.submit(Submission { sync, ..job("{}") }).unwrap());
        let frame = worker.job().await;
        worker.finish(&queue, &frame);
    }
    assert!(queue.status(&ids[1]).is_none(), "only the latest answer that was waited for is kept");
    let later = |minutes: u64| Instant::now() + Duration::from_secs(60 * minutes);
    queue.forget_expired(later(2));
    assert!(queue.status(&ids[2]).is_none() && queue.status(&ids[0]).is_some());
    queue.forget_expired(later(31));
    assert!(queue.status(&ids[0]).is_none());
}

#[tokio::test]
async fn a_poll_takes_up_to_what_it_asks_for_and_an_abandoned_one_nothing() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, Link::Polling, 1);
    let abandoned = queue.take(&worker, 1, Duration::from_secs(600));
    tokio::time::timeout(Duration::from_millis(1), abandoned).await.unwrap_err();
    for _ in 0..3 {
        queue.submit(job("{}")).unwrap();
    }
    assert_eq!(queue.load(Instant::now()).waiting, 3, "nobody polls");
    let taken = queue.take(&worker, 2, Duration::from_secs(600)).await;
    assert_eq!(taken.len(), 2);
    let done = |taken: &Taken| {
        queue.finish(&worker, &taken.id, None, Outcome::Completed(json("1")), None) == Reported::Accepted
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
    let waited = queue.submit(Submission { waiter: Some(Waiter::Client(end)), ..job("{}") }).unwrap();
    let stays = queue.submit(job("{}")).unwrap();
    queue.fail_waiting(&WireError::new(ErrorKind::NoWorker, "exit code 1"));
    assert_eq!(ended.await.unwrap().status, Failed);
    assert_eq!((status(&queue, &waited), status(&queue, &stays)), (Failed, InQueue));
}

#[tokio::test]
async fn a_stream_is_drained_and_ends_with_the_rest() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.submit(job("{}")).unwrap();
    let frame = worker.job().await;
    queue.chunk(&worker.id, &id, json("1"));
    let first = queue.stream(&id, Duration::from_secs(600)).await.unwrap();
    assert_eq!((first.status, first.chunks.len()), (InProgress, 1));
    let held = tokio::spawn({
        let (queue, id) = (queue.clone(), id.clone());
        async move { queue.stream(&id, Duration::from_secs(600)).await.unwrap() }
    });
    queue.chunk(&worker.id, &id, json("2"));
    let second = held.await.unwrap();
    assert_eq!(second.chunks[0].get(), "2");
    queue.chunk(&worker.id, &id, json("3"));
    worker.finish(&queue, &frame);
    let last = queue.stream(&id, Duration::ZERO).await.unwrap();
    assert_eq!((last.status, last.chunks.len()), (Completed, 1));
}

#[tokio::test]
async fn attempts_on_workers_that_were_ended_on_purpose_do_not_count() {
    let queue = queue();
    let id = queue.submit(job("{}")).unwrap();
    for attempt in 1..=5 {
        let mut worker = FakeWorker::attach(&queue, "w", 1);
        assert_eq!(worker.job().await.attempt, attempt, "each has a number of its own");
        queue.detach_stopped(&worker.id, "killed for another job");
        assert_eq!(status(&queue, &id), InQueue);
    }
    for _ in 0..3 {
        let mut worker = FakeWorker::attach(&queue, "w", 1);
        worker.job().await;
        queue.detach(&worker.id, "exit code 1");
    }
    assert_eq!(status(&queue, &id), Failed);
}

#[tokio::test]
async fn a_polling_worker_lets_go_of_stopped_jobs_by_its_next_poll() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, Link::Polling, 4);
    let ids: Vec<JobId> = (0..2).map(|_| queue.submit(job("{}")).unwrap()).collect();
    let taken = queue.take(&worker, 4, Duration::from_secs(600)).await;
    assert_eq!(taken.len(), 2);
    queue.cancel(&ids[0]).unwrap();
    let later = Instant::now() + Duration::from_secs(60);
    assert_eq!(queue.end_overdue(later).len(), 1, "nothing shows that it let go");
    // It runs one of four, so it asks for three.
    assert!(queue.take(&worker, 3, Duration::ZERO).await.is_empty());
    assert_eq!(queue.end_overdue(later), []);
    assert_eq!(status(&queue, &ids[1]), InProgress, "the other one goes on");

    queue.cancel(&ids[1]).unwrap();
    queue.runs_nothing(&worker);
    assert_eq!(queue.end_overdue(later), []);
    assert!(queue.load(Instant::now()).takers[0].2.is_some(), "it is idle");
}

#[tokio::test]
async fn an_open_poll_is_answered_so_that_the_next_one_shows_what_runs() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, Link::Polling, 2);
    let id = queue.submit(job("{}")).unwrap();
    assert_eq!(queue.take(&worker, 2, Duration::from_secs(600)).await.len(), 1);
    let open = tokio::spawn({
        let (queue, worker) = (queue.clone(), worker.clone());
        async move { queue.take(&worker, 1, Duration::from_secs(600)).await }
    });
    tokio::task::yield_now().await;
    queue.cancel(&id).unwrap();
    let grace = Limits::default().stop_grace;
    let soon = Instant::now() + grace + Duration::from_millis(1);
    assert_eq!(queue.end_overdue(soon), [], "it gets time for another poll");
    assert!(open.await.unwrap().is_empty());
    assert!(queue.take(&worker, 2, Duration::ZERO).await.is_empty());
    assert_eq!(queue.end_overdue(soon + Duration::from_secs(60)), []);
}

#[tokio::test]
async fn a_result_is_late_only_where_the_attempt_was_lost() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.submit(job("{}")).unwrap();
    let frame = worker.job().await;
    let report = |worker: &WorkerId| {
        queue.finish(worker, &id, Some(frame.attempt), Outcome::Completed(json("1")), None)
    };
    queue.cancel(&id).unwrap();
    assert_eq!(report(&worker.id), Reported::LetGo, "as it was told");
    assert_eq!(report(&worker.id), Reported::Late);
    assert_eq!(report(&"gone".into()), Reported::Late);
}
