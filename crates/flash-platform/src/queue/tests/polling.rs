//! Workers that poll: what their polls report, and what they omit.
use super::*;

#[tokio::test]
async fn a_job_that_came_to_a_poll_as_it_ended_waits_again() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, DeliveryMode::Polling, 1, Account::free());
    let mut poll = Box::pin(queue.take(&worker, 1, Duration::from_secs(600)));
    assert!(futures_util::poll!(&mut poll).is_pending());
    let id = queue.run("{}");
    assert_eq!(status(&queue, id), InProgress, "it is on its way");
    drop(poll);
    assert_eq!(status(&queue, id), InQueue, "the client hung up before it had it");
    let taken = queue.take(&worker, 1, Duration::from_secs(600)).await;
    assert_eq!((taken[0].id, taken[0].attempt), (id, 1), "nobody saw that attempt");
}

#[tokio::test]
async fn a_poll_takes_up_to_what_it_asks_for_and_an_abandoned_one_nothing() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, DeliveryMode::Polling, 1, Account::free());
    let abandoned = queue.take(&worker, 1, Duration::from_secs(600));
    tokio::time::timeout(Duration::from_millis(1), abandoned).await.unwrap_err();
    for _ in 0..3 {
        queue.run("{}");
    }
    assert_eq!(queue.load().waiting, 3, "nobody polls");
    let taken = queue.take(&worker, 2, Duration::from_secs(600)).await;
    assert_eq!(taken.len(), 2);
    let done = |taken: &LeasedJob| {
        queue.finish(&worker, taken.id, None, Outcome::Completed(json("1").into()), None)
            == Reported::Accepted
    };
    assert!(taken.iter().all(done), "a foreign worker does not know the attempt");
    let rest = queue.take(&worker, 8, Duration::from_secs(600)).await;
    assert_eq!(rest.len(), 1);
    assert!(queue.take(&worker, 1, Duration::ZERO).await.is_empty());
}

#[tokio::test]
async fn a_polling_worker_lets_go_of_stopped_jobs_by_its_next_poll() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, DeliveryMode::Polling, 4, Account::free());
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
    assert!(queue.load().consumers[0].2.is_some(), "it is idle");
}

#[tokio::test]
async fn an_open_poll_is_answered_so_that_the_next_one_shows_what_runs() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, DeliveryMode::Polling, 2, Account::free());
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
async fn a_polling_worker_that_runs_nothing_has_lost_the_job_that_it_said_nothing_of() {
    let queue = queue();
    let worker: WorkerId = "foreign".into();
    queue.attach(&worker, DeliveryMode::Polling, 1, Account::free());
    let id = queue.run("{}");
    for _ in 0..Limits::default().max_attempts {
        assert_eq!(queue.take(&worker, 1, Duration::from_secs(600)).await.len(), 1);
        assert_eq!(status(&queue, id), InProgress);
        queue.runs_nothing(&worker);
    }
    assert_eq!(status(&queue, id), Failed);
    let error = queue.peek(id).unwrap().error.unwrap();
    assert!(error.contains("did not send a result"), "{error}");
    assert!(!queue.is_dead(id), "its worker lives");
}

#[tokio::test]
async fn a_result_is_late_only_where_the_attempt_was_lost() {
    let queue = queue();
    let mut worker = FakeWorker::attach(&queue, "w", 1);
    let id = queue.run("{}");
    let frame = worker.job().await;
    let report = |worker: &WorkerId| {
        queue.finish(worker, id, Some(frame.attempt), Outcome::Completed(json("1").into()), None)
    };
    queue.cancel(id).unwrap();
    assert_eq!(report(&worker.id), Reported::Released, "as it was told");
    assert_eq!(report(&worker.id), Reported::Late);
    assert_eq!(report(&"gone".into()), Reported::Late);
}
