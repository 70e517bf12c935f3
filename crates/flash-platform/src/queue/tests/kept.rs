//! What is kept of a job and for how long, and its cost.
use super::*;

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
async fn dead_jobs_are_listed_and_start_anew() {
    let queue = Bench::with(Limits { max_attempts: 1, ..Limits::default() });
    let id = queue.run("{}");
    FakeWorker::attach(&queue, "w", 1).job().await;
    queue.detach(&"w".into(), "exit code 3");
    assert!(queue.is_dead(id));
    assert_eq!(queue.dead(10), [id]);
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
    let ended = queue.webhooks.recv().await.unwrap();
    assert_eq!((ended.job.id.as_str(), ended.job.status), (id.to_string().as_str(), Completed));
    assert_eq!((ended.url.as_str(), ended.input.get()), ("http://x/", "7"));
    assert!(queue.webhooks.try_recv().is_err());
}

#[tokio::test]
async fn each_end_of_a_job_is_an_event_of_its_own_and_stays_it_after_a_restart() {
    let mut bench = queue();
    let id = bench.submit(Submission { webhook: Some("http://x/".into()), ..job("7") }).unwrap().id;
    let mut worker = FakeWorker::attach(&bench, "w", 1);
    let mut events = Vec::new();
    for round in 0..2 {
        if round > 0 {
            bench.advance(Duration::from_secs(1));
            bench.retry(id).unwrap();
        }
        let frame = worker.job().await;
        bench.finish(&worker.id, id, Some(frame.attempt), Outcome::Failed("no".into()), None);
        events.push(bench.webhooks.recv().await.unwrap().event);
    }
    assert_ne!(events[0], events[1], "a receiver that knows the first end takes the second for another");
    bench.all_stored().await.unwrap();
    let Bench { queue, now, directory, .. } = bench;
    queue.settings.store.close();
    let (store, mut backlog, ..) = Backlog::open(directory.path(), Durability::Process).unwrap();
    let (outbox, mut webhooks) = WebhookOutbox::new();
    let context =
        QueueContext { clock: Clock::Manual(now), store, outbox, budget: Budget::default(), traces: None };
    let again = Queue::new("bench", 1, Limits::default(), &context, Box::new(|_| ()));
    again.adopt(&mut backlog, Claim::All);
    assert_eq!(
        webhooks.recv().await.unwrap().event,
        events[1],
        "it was not taken: delivered again under its id"
    );
}

#[tokio::test]
async fn what_came_beside_an_error_survives_a_restart() {
    let queue = queue();
    let worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.run("{}");
    let outcome = Outcome::FailedWith("no such picture".into(), json(r#"{"k":[1,"\""]}"#));
    queue.finish(&worker.id, id, None, outcome, None);
    queue.all_stored().await.unwrap();
    let Bench { queue, now, directory, .. } = queue;
    queue.settings.store.close();
    let (store, mut backlog, ..) = Backlog::open(directory.path(), Durability::Process).unwrap();
    let context = QueueContext {
        clock: Clock::Manual(now),
        store,
        outbox: WebhookOutbox::new().0,
        budget: Budget::default(),
        traces: None,
    };
    let again = Queue::new("bench", 1, Limits::default(), &context, Box::new(|_| ()));
    again.adopt(&mut backlog, Claim::All);
    let job = again.status(id).await.unwrap().unwrap();
    assert_eq!((job.status, job.error.as_deref()), (Failed, Some("no such picture")));
    assert_eq!(job.output.unwrap().get(), r#"{"k":[1,"\""]}"#);
}

/// So dear that a nanosecond shows.
fn dear() -> Account {
    Account::priced(1_000_000_000_000)
}

fn cost(queue: &Queue, id: JobId) -> Option<u64> {
    queue.peek(id).unwrap().cost_nano_dollars
}

#[tokio::test]
async fn a_job_owes_for_all_of_its_attempts_and_for_no_wait() {
    let queue = queue();
    let id = queue.run("1");
    assert_eq!(cost(&queue, id), None);
    let (first, second): (WorkerId, WorkerId) = ("first".into(), "second".into());
    queue.attach(&first, DeliveryMode::Polling, 1, dear());
    queue.take(&first, 1, Duration::ZERO).await;
    queue.detach(&first, "exit code 1");
    let lost = cost(&queue, id).unwrap();
    assert!(lost > 0);
    assert_eq!(cost(&queue, id), Some(lost), "it waits");
    queue.attach(&second, DeliveryMode::Polling, 1, dear());
    let taken = queue.take(&second, 1, Duration::ZERO).await;
    queue.finish(&second, id, Some(taken[0].attempt), Outcome::Completed(json("1").into()), None);
    let whole = cost(&queue, id).unwrap();
    assert!(whole > lost);
    assert_eq!(queue.ends.lock()[0].cost.0, whole, "the log says the same");
}

#[tokio::test]
async fn a_stopped_job_owes_until_its_worker_lets_go_of_it() {
    let queue = queue();
    let worker: WorkerId = "w".into();
    queue.attach(&worker, DeliveryMode::Polling, 1, dear());
    let id = queue.run("1");
    let taken = queue.take(&worker, 1, Duration::ZERO).await;
    queue.cancel(id).unwrap();
    let at_its_end = cost(&queue, id).unwrap();
    assert!(at_its_end > 0);
    queue.finish(&worker, id, Some(taken[0].attempt), Outcome::Failed("stopped".into()), None);
    let whole = cost(&queue, id).unwrap();
    assert!(whole > at_its_end);
    // Also for the next platform.
    queue.status(id).await.unwrap();
    queue.settings.store.close();
    let (_, mut backlog, ..) = Backlog::open(queue.directory.path(), Durability::Process).unwrap();
    let context = QueueContext {
        clock: Clock::Manual(queue.now.clone()),
        store: queue.settings.store.clone(),
        outbox: queue.settings.outbox.clone(),
        budget: Budget::default(),
        traces: None,
    };
    let next = Queue::new("bench", 1, Limits::default(), &context, Box::new(|_| {}));
    next.adopt(&mut backlog, Claim::All);
    assert_eq!(cost(&next, id), Some(whole));
}

#[tokio::test]
async fn a_page_waits_until_the_states_that_it_shows_are_stored() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    // Many, so that a page that does not wait is seen: the store is behind then.
    for round in 0..50 {
        let jobs: Vec<JobId> = (0..20).map(|_| queue.run("1")).collect();
        for _ in &jobs {
            let frame = worker.job().await;
            worker.finish(&queue, &frame);
        }
        queue.stored_page(&Filter::default(), None, 100).await.unwrap();
        for job in jobs {
            let ticket = queue.lock().jobs.get(job).unwrap().ticket;
            assert!(queue.settings.store.is_committed(ticket), "{job:?} in round {round}");
        }
    }
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
    queue.settings.store.crash();
    let (store, mut backlog, ..) = Backlog::open(queue.directory.path(), Durability::Process).unwrap();
    let context = QueueContext {
        clock: Clock::Manual(queue.now.clone()),
        store,
        outbox: WebhookOutbox::new().0,
        budget: Budget::default(),
        traces: None,
    };
    let next = Queue::new("bench", 1, limits, &context, Box::new(|_| {}));
    next.adopt(&mut backlog, Claim::All);
    assert_eq!((status(&next, finished), status(&next, dead)), (Completed, Failed));
    assert!(next.is_dead(dead));
}

/// Queues of two releases on the store that a bench of release 1 leaves.
fn after_restart(bench: &Bench) -> (Backlog, [Queue; 2]) {
    bench.settings.store.close();
    let (store, backlog, ..) = Backlog::open(bench.directory.path(), Durability::Process).unwrap();
    let context = QueueContext {
        clock: Clock::Manual(bench.now.clone()),
        store,
        outbox: WebhookOutbox::new().0,
        budget: Budget::default(),
        traces: None,
    };
    let queue = |release| Queue::new("bench", release, Limits::default(), &context, Box::new(|_| {}));
    (backlog, [queue(1), queue(2)])
}

#[tokio::test]
async fn stored_jobs_go_on_in_the_release_that_accepted_them() {
    let bench = queue();
    let (waits, ended) = (bench.run("1"), bench.run("2"));
    bench.cancel(ended).unwrap();
    let (mut backlog, [old, live]) = after_restart(&bench);
    assert_eq!(Vec::from_iter(backlog.releases()), [1]);
    live.adopt(&mut backlog, Claim::OwnAndUnknown);
    assert!(!live.has_jobs(), "they are of another release");
    old.adopt(&mut backlog, Claim::Own);
    assert_eq!((status(&old, waits), status(&old, ended)), (InQueue, Cancelled));
    assert!(backlog.releases().is_empty());
}

#[tokio::test]
async fn stored_jobs_whose_release_is_gone_are_the_live_ones_from_then_on() {
    let bench = queue();
    let id = bench.run("1");
    let (mut backlog, [_, live]) = after_restart(&bench);
    live.adopt(&mut backlog, Claim::All);
    assert_eq!(status(&live, id), InQueue);
    live.all_stored().await.unwrap();
    live.settings.store.close();
    let (_, backlog, ..) = Backlog::open(bench.directory.path(), Durability::Process).unwrap();
    assert_eq!(Vec::from_iter(backlog.releases()), [2]);
}
