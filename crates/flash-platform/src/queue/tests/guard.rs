//! Jobs that kill the platform, and jobs that ran next to them.
use super::*;

/// One platform after the other on the same store, each of which is killed.
struct Platforms {
    directory: TempDir,
    now: Arc<AtomicU64>,
}

impl Platforms {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap(), now: Arc::new(AtomicU64::new(1_000_000_000_000)) }
    }

    fn start(&self, endpoints: &[&str]) -> (QueueContext, Vec<Queue>) {
        let (store, mut backlog, ..) = Backlog::open(self.directory.path(), Durability::Process).unwrap();
        let context = QueueContext {
            clock: Clock::Manual(self.now.clone()),
            store,
            outbox: WebhookOutbox::new().0,
            budget: Budget::default(),
            traces: None,
        };
        let queue = |name: &&str| {
            let queue = Queue::new(name, 1, Limits::default(), &context, Box::new(|_| {}));
            queue.adopt(&mut backlog, Claim::All);
            queue
        };
        let queues = endpoints.iter().map(queue).collect();
        (context, queues)
    }
}

/// Has all marks written that can be, and their jobs handed out.
async fn fed(queue: &Queue) {
    loop {
        queue.feed();
        if tokio::time::timeout(Duration::ZERO, queue.fed()).await.is_err() {
            // Nothing is pending or not yet on disk.
            let idle = queue.lock().jobs.guarded.next_ticket().is_none();
            if idle {
                return;
            }
            queue.all_stored().await.unwrap();
        }
    }
}

async fn stored(queue: &Queue, input: &str) -> JobId {
    let submitted = queue.submit(job(input)).unwrap();
    queue.stored(&submitted).await.unwrap();
    submitted.id
}

#[tokio::test]
async fn a_job_that_kills_the_platform_is_dead_after_six_deaths_and_no_other_is() {
    let platforms = Platforms::new();
    let (context, queues) = platforms.start(&["a", "b"]);
    let deadly = stored(&queues[0], "\"deadly\"").await;
    let beside = [stored(&queues[0], "1").await, stored(&queues[1], "2").await];
    let mut worker = FakeWorker::attach(&queues[0], "w", 2);
    worker.job().await;
    context.store.crash();
    for death in 2..=6 {
        let (context, queues) = platforms.start(&["a", "b"]);
        let mut workers = [FakeWorker::attach(&queues[0], "w", 2), FakeWorker::attach(&queues[1], "v", 2)];
        for (queue, worker) in queues.iter().zip(&mut workers) {
            assert_eq!(queue.load().running, 0, "no worker has one before its mark is durable");
            fed(queue).await;
            for _ in 0..queue.load().running {
                worker.job().await;
            }
        }
        let running = queues.iter().map(|queue| queue.load().running).sum::<usize>();
        assert_eq!(running, if death < 4 { 3 } else { 1 }, "in the end one by one");
        assert_eq!(status(&queues[0], deadly), InProgress);
        context.store.crash();
    }
    let (context, queues) = platforms.start(&["a", "b"]);
    assert!(queues[0].is_dead(deadly));
    let error = queues[0].peek(deadly).unwrap().error.unwrap();
    assert!(error.contains("the platform died 5 times while this job was running"), "{error}");
    // The others continue, one after the other.
    let mut workers = [FakeWorker::attach(&queues[0], "w", 2), FakeWorker::attach(&queues[1], "v", 2)];
    for (place, id) in [(0, beside[0]), (1, beside[1])] {
        fed(&queues[place]).await;
        let frame = workers[place].job().await;
        assert_eq!(queues.iter().map(|queue| queue.load().running).sum::<usize>(), 1);
        assert!(workers[place].finish(&queues[place], &frame));
        assert_eq!(status(&queues[place], id), Completed);
    }
    // Who wants it again gets all of it again, also from the next platform.
    queues[0].retry(deadly).unwrap();
    assert_eq!(id_of(&workers[0].job().await), deadly);
    queues[0].all_stored().await.unwrap();
    context.store.crash();
    let (_context, queues) = platforms.start(&["a"]);
    assert_eq!(status(&queues[0], deadly), InQueue);
}

#[tokio::test]
async fn a_job_of_a_life_after_a_clean_end_needs_no_mark() {
    let platforms = Platforms::new();
    let (context, queues) = platforms.start(&["a"]);
    let id = stored(&queues[0], "1").await;
    context.close();
    let (context, queues) = platforms.start(&["a"]);
    let mut worker = FakeWorker::attach(&queues[0], "w", 1);
    assert_eq!(id_of(&worker.job().await), id, "at once");
    // Nor does one that comes after an unclean one.
    queues[0].all_stored().await.unwrap();
    context.store.crash();
    let (_context, queues) = platforms.start(&["a"]);
    let mut worker = FakeWorker::attach(&queues[0], "w", 1);
    let late = stored(&queues[0], "2").await;
    assert_eq!(id_of(&worker.job().await), late);
    assert_eq!(status(&queues[0], id), InQueue);
}

#[tokio::test]
async fn jobs_that_wait_for_their_mark_keep_their_order_and_can_be_cancelled_moved_and_deleted() {
    let platforms = Platforms::new();
    let (context, queues) = platforms.start(&["a"]);
    let mut ids = Vec::new();
    for _ in 0..10 {
        ids.push(stored(&queues[0], "1").await);
    }
    context.store.crash();
    let (context, mut queues) = platforms.start(&["a"]);
    let queue = Arc::new(queues.remove(0));
    assert_eq!(queue.load().waiting, 10);
    queue.cancel(ids[0]).unwrap();
    let mut worker = FakeWorker::attach(&queue, "w", 2);
    let late = stored(&queue, "2").await;
    let mut got = vec![id_of(&worker.job().await)];
    assert_eq!(got, [late], "nothing else may be taken yet");
    fed(&queue).await;
    got.push(id_of(&worker.job().await));
    queue.cancel(ids[5]).unwrap();
    queue.detach_stopped(&worker.id, "scaled down");
    // The next release continues with them.
    let next = Arc::new(Queue::new("a", 2, Limits::default(), &context, Box::new(|_| {})));
    queue.hand_over(&next).await;
    let mut worker = FakeWorker::attach(&next, "v", 100);
    fed(&next).await;
    let mut rest = Vec::new();
    while next.load().waiting > 0 || rest.len() < next.load().running {
        rest.push(id_of(&worker.job().await));
        fed(&next).await;
    }
    let mut expected: Vec<JobId> = ids.iter().copied().filter(|id| ![ids[0], ids[5]].contains(id)).collect();
    expected.push(late);
    rest.sort();
    expected.sort();
    assert_eq!(rest, expected);
    assert_eq!((next.load().waiting, next.load().running), (0, 9));
}

#[tokio::test]
async fn jobs_are_not_deleted_because_a_clock_is_ahead_at_the_start() {
    let directory = TempDir::new().unwrap();
    let open = || Backlog::open(directory.path(), Durability::Process).unwrap();
    let (store, _, clock, ..) = open();
    let context = QueueContext {
        clock,
        store,
        outbox: WebhookOutbox::new().0,
        budget: Budget::default(),
        traces: None,
    };
    let queue = Queue::new("a", 1, Limits::default(), &context, Box::new(|_| {}));
    let id = stored(&queue, "1").await;
    context.close();
    // As on another start of the machine, with a clock that is a hundred years ahead of the last one.
    let file = rusqlite::Connection::open(directory.path().join("jobs.sqlite")).unwrap();
    let century = 100_u64 * 365 * 24 * 60 * 60 * 1_000_000;
    file.execute("UPDATE life SET wall_us = max(0, wall_us - ?), boot = 'another'", [century]).unwrap();
    drop(file);
    let (store, mut backlog, clock, ..) = open();
    let context = QueueContext {
        clock,
        store,
        outbox: WebhookOutbox::new().0,
        budget: Budget::default(),
        traces: None,
    };
    backlog.delete_due(&context);
    let queue = Queue::new("a", 1, Limits::default(), &context, Box::new(|_| {}));
    queue.adopt(&mut backlog, Claim::All);
    queue.end_overdue();
    assert_eq!(status(&queue, id), InQueue);
    context.close();
}

#[tokio::test]
async fn a_job_that_cannot_be_read_is_set_aside_and_the_others_go_on() {
    let damages = [
        "UPDATE job SET input = '{\"a\":' WHERE seq = 2",
        "UPDATE job SET envelope = 'x' WHERE seq = 2",
        "UPDATE job SET id = x'00' WHERE seq = 2",
        "UPDATE job SET attempts = 'many' WHERE seq = 2",
        "UPDATE job SET endpoint = x'ff' WHERE seq = 2",
        "UPDATE job SET extras = '{\"webhook\":7}' WHERE seq = 2",
        "INSERT INTO job_end VALUES (2, 77, '', NULL, 1, 0, 0, 0, 0, 0)",
        "INSERT INTO job_end VALUES (2, 0, '{', NULL, 1, 0, 0, 0, 0, 0)",
        "INSERT INTO aboard VALUES (2, 'often', 1)",
    ];
    for damage in damages {
        let directory = TempDir::new().unwrap();
        let open = || Backlog::open(directory.path(), Durability::Process).unwrap();
        let now = Arc::new(AtomicU64::new(1_000_000_000_000));
        let (store, ..) = open();
        let context = QueueContext {
            clock: Clock::Manual(now.clone()),
            store,
            outbox: WebhookOutbox::new().0,
            budget: Budget::default(),
            traces: None,
        };
        let queue = Queue::new("a", 1, Limits::default(), &context, Box::new(|_| {}));
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(stored(&queue, "1").await);
        }
        context.close();
        let file = rusqlite::Connection::open(directory.path().join("jobs.sqlite")).unwrap();
        file.execute(damage, []).unwrap();
        drop(file);
        for round in 0..2 {
            let (store, mut backlog, _, set_aside, _) = open();
            let context = QueueContext {
                clock: Clock::Manual(now.clone()),
                store,
                outbox: WebhookOutbox::new().0,
                budget: Budget::default(),
                traces: None,
            };
            let queue = Queue::new("a", 1, Limits::default(), &context, Box::new(|_| {}));
            queue.adopt(&mut backlog, Claim::All);
            let known: Vec<bool> = ids.iter().map(|id| queue.knows(*id)).collect();
            assert_eq!(known, [true, false, true], "{damage}");
            assert_eq!((set_aside.before, set_aside.now.len()), (round, 1 - round), "{damage}");
            context.close();
        }
        let file = rusqlite::Connection::open(directory.path().join("jobs.sqlite")).unwrap();
        let kept: String =
            file.query_row("SELECT rows FROM damaged WHERE seq = 2", [], |row| row.get(0)).unwrap();
        assert!(kept.contains("\"job\":{"), "{kept}");
    }
}
