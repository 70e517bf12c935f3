//! Jobs that ran on a worker when it died: which of them end as dead, and which wait for others.
use super::*;

/// Has workers with this many slots run everything. One that has a job with the input `"poison"` dies.
async fn run_all(queue: &Bench, slots: u32) -> Vec<Vec<JobId>> {
    let mut aboard = Vec::new();
    for number in 0.. {
        if queue.is_idle() {
            break;
        }
        assert!(number < 1000, "there is no end to it: {:?}", queue.load());
        let mut worker = FakeWorker::attach(queue, &format!("w{number}"), slots);
        let count = queue.load().consumers[0].1;
        let mut jobs = Vec::new();
        for _ in 0..count {
            jobs.push(worker.job().await);
        }
        aboard.push(jobs.iter().map(id_of).collect());
        if jobs.iter().any(|job| job.input.text().get() == "\"poison\"") {
            queue.detach(&worker.id, "killed by SIGKILL");
            continue;
        }
        // Before the last one ends it takes no other.
        queue.drain(&worker.id);
        assert!(jobs.iter().all(|job| worker.finish(queue, job)));
        queue.detach_stopped(&worker.id, "it is done");
    }
    aboard
}

#[tokio::test]
async fn a_death_with_several_aboard_condemns_only_the_job_that_kills_alone() {
    for max_attempts in [1, 2, 3] {
        let queue = Bench::with(Limits { max_attempts, ..Limits::default() });
        let innocent = [queue.run("1"), queue.run("2")];
        let poison = queue.run("\"poison\"");
        let late = queue.run("3");
        let aboard = run_all(&queue, 4).await;
        assert_eq!(aboard[0].len(), 4, "all of them at first");
        assert!(aboard[1..].iter().all(|jobs| jobs.len() == 1), "then one by one: {aboard:?}");
        for job in innocent.into_iter().chain([late]) {
            assert_eq!(status(&queue, job), Completed, "of {max_attempts} attempts");
        }
        assert!(queue.is_dead(poison));
        let deaths = aboard.iter().filter(|jobs| jobs.contains(&poison)).count();
        assert_eq!(deaths, max_attempts.max(2) as usize, "never without an attempt alone");
    }
}

#[tokio::test]
async fn of_ten_thousand_jobs_in_batches_one_that_kills_is_dead_alone() {
    const JOBS: usize = 10_000;
    const SLOTS: u32 = 64;
    let queue = queue();
    let jobs: Vec<JobId> =
        (0..JOBS).map(|at| queue.run(if at == JOBS / 2 { "\"poison\"" } else { "1" })).collect();
    let poison = jobs[JOBS / 2];
    let aboard = run_all(&queue, SLOTS).await;
    assert_eq!(queue.dead(10).len(), 1);
    for job in jobs {
        assert_eq!(status(&queue, job), if job == poison { Failed } else { Completed });
    }
    // Those beside it ran once more, and it had two attempts alone.
    let attempts: usize = aboard.iter().map(Vec::len).sum();
    assert_eq!(attempts, JOBS + SLOTS as usize - 1 + 2);
}

#[tokio::test]
async fn jobs_that_kill_make_no_other_wait_for_their_further_attempts() {
    let queue = queue();
    for _ in 0..3 {
        queue.run("\"poison\"");
    }
    let healthy = queue.run("1");
    let low = queue.submit(Submission { low_priority: true, ..job("2") }).unwrap().id;
    let aboard = run_all(&queue, 1).await;
    let place = |id| aboard.iter().position(|jobs| jobs.contains(&id)).unwrap();
    assert_eq!(place(healthy), 3, "each has killed one worker, which nobody could know before");
    assert_eq!(place(low), aboard.len() - 1, "low priority stays behind all others");
    assert_eq!(queue.dead(10).len(), 3);
}

#[tokio::test]
async fn a_full_queue_does_not_keep_a_suspect_from_its_next_attempt() {
    let queue = queue();
    let suspect = queue.run("0");
    FakeWorker::attach(&queue, "first", 1).job().await;
    queue.detach(&"first".into(), "killed by SIGKILL");
    for _ in 0..200 {
        queue.run("1");
    }
    let (mut busy, mut other) =
        (FakeWorker::attach(&queue, "busy", 2), FakeWorker::attach(&queue, "other", 2));
    let (mut aboard, mut beside) = (vec![busy.job().await, busy.job().await], Vec::new());
    for _ in 0..2 {
        beside.push(other.job().await);
    }
    // `other` keeps its jobs; only `busy` continues.
    let mut done = 0;
    while aboard.iter().all(|job| id_of(job) != suspect) {
        let job = aboard.remove(0);
        assert!(busy.finish(&queue, &job));
        done += 1;
        assert!(done < 100, "it waits and waits");
        let count = queue.jobs_on(&busy.id).len();
        while aboard.len() < count {
            aboard.push(busy.job().await);
        }
    }
    assert_eq!(aboard.len(), 1, "it is alone, and nothing joins it");
    assert!(busy.finish(&queue, &aboard[0]));
    assert_eq!(status(&queue, suspect), Completed);
    assert_eq!(queue.jobs_on(&busy.id).len(), 2, "then the worker is full again");
}

#[tokio::test]
async fn a_worker_that_was_emptied_for_a_suspect_and_dies_leaves_that_to_another() {
    let queue = queue();
    let suspect = queue.run("0");
    FakeWorker::attach(&queue, "first", 1).job().await;
    queue.detach(&"first".into(), "killed by SIGKILL");
    let mut busy = FakeWorker::attach(&queue, "busy", 2);
    assert_eq!(id_of(&busy.job().await), suspect, "nothing else waits");
    queue.detach_stopped(&busy.id, "scaled down");
    let beside = queue.run("1");
    let mut next = FakeWorker::attach(&queue, "next", 2);
    assert_eq!(id_of(&next.job().await), beside);
    assert_eq!(status(&queue, suspect), InQueue, "not in company");
    queue.drain(&next.id);
    let mut last = FakeWorker::attach(&queue, "last", 2);
    assert_eq!(id_of(&last.job().await), suspect);
}

#[tokio::test]
async fn a_suspect_is_one_for_the_next_platform_too() {
    let bench = queue();
    let suspects = [bench.run("1"), bench.run("2")];
    let mut worker = FakeWorker::attach(&bench, "w", 2);
    worker.job().await;
    worker.job().await;
    bench.detach(&worker.id, "killed by SIGKILL");
    bench.all_stored().await.unwrap();
    bench.settings.store.close();
    let (store, mut backlog, ..) = Backlog::open(bench.directory.path(), Durability::Process).unwrap();
    let context = QueueContext {
        clock: Clock::Manual(bench.now.clone()),
        store,
        outbox: WebhookOutbox::new().0,
        budget: Budget::default(),
        traces: None,
    };
    let next = Queue::new("bench", 1, Limits::default(), &context, Box::new(|_| ()));
    next.adopt(&mut backlog, Claim::All);
    let mut worker = FakeWorker::attach(&next, "v", 2);
    let alone = worker.job().await;
    assert_eq!((id_of(&alone), next.load().running), (suspects[0], 1));
}
