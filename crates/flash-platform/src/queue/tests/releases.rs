//! Moving jobs from the queue of one release to the next.
use super::*;

#[tokio::test]
async fn what_waits_goes_on_in_the_next_release() {
    let old = queue();
    let new = old.next_release();
    let ids = [old.run("1"), old.run("2")];
    old.hand_over(&new).await;
    assert!(old.is_idle() && old.peek(ids[0]).is_none());
    let late = old.run("3");
    assert_eq!(status(&new, late), InQueue, "a client that was slow to send it");
    assert_eq!(old.status(late).await.unwrap().unwrap().status, InQueue);
    let mut worker = FakeWorker::attach(&new, "w", 2);
    assert_eq!([id_of(&worker.job().await), id_of(&worker.job().await)], ids);
    old.cancel(late).unwrap();
    assert_eq!(status(&new, late), Cancelled, "who cancels finds it too");
}

#[tokio::test]
async fn results_and_keys_go_on_in_the_next_release() {
    let old = queue();
    let new = old.next_release();
    let keyed = |input| Submission { idempotency_key: Some("k".into()), ..job(input) };
    let id = old.submit(keyed("1")).unwrap().id;
    old.cancel(id).unwrap();
    old.hand_over(&new).await;
    assert_eq!((status(&new, id), old.has_jobs()), (Cancelled, false));
    let again = new.submit(keyed("1")).unwrap();
    assert_eq!((again.id, again.idempotency), (id, Idempotency::Repeated));
    assert!(matches!(new.submit(keyed("2")), Err(SubmitError::KeyInUse(_))));
}

#[tokio::test]
async fn a_queue_without_a_successor_refuses_what_comes_late() {
    let queue = queue();
    let id = queue.run("1");
    queue.give_up_waiting().await;
    assert_eq!(status(&queue, id), Failed);
    assert!(matches!(queue.submit(job("2")), Err(SubmitError::Ended)));
}

#[tokio::test]
async fn a_job_is_found_all_the_while_that_a_release_hands_over() {
    let old = queue();
    let new = old.next_release();
    let (mut open, mut ended) = (Vec::new(), Vec::new());
    for number in 0..2000 {
        let id = old.run("1");
        if number % 2 == 0 {
            old.cancel(id).unwrap();
            ended.push(id);
        } else {
            open.push(id);
        }
    }
    let mut handing = Box::pin(old.hand_over(&new));
    let mut pieces = 0;
    loop {
        let over = futures_util::poll!(&mut handing).is_ready();
        let moved = ended.iter().chain(&open).filter(|id| new.knows(**id)).count();
        assert!(over || moved <= (pieces + 1) * 256, "{moved} of them in {pieces} pieces");
        for (ids, is) in [(&ended, Cancelled), (&open, InQueue)] {
            for id in [ids[0], ids[500], ids[999]] {
                assert_eq!(old.status(id).await.unwrap().map(|job| job.status), Some(is));
                assert!(old.knows(id) != new.knows(id), "in one of the two");
            }
        }
        if over {
            break;
        }
        pieces += 1;
    }
    assert!(pieces >= 2000 / 256, "others had their turn between {pieces} pieces");
    assert!(!old.has_jobs());
    assert_eq!((new.load().waiting, open.len()), (1000, 1000));
    let late = old.run("2");
    assert!(new.knows(late), "what comes late follows");
    let mut worker = FakeWorker::attach(&new, "w", 2);
    assert_eq!([id_of(&worker.job().await), id_of(&worker.job().await)], open[..2]);
}

/// To print the numbers: `cargo test --release -- --ignored --nocapture no_pause`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a million jobs take a while"]
async fn no_pause_is_long_while_a_million_jobs_are_handed_over_or_forgotten() {
    let old = Bench::with(Limits { max_kept_sync: 2_000_000, ..Limits::default() });
    let new = old.next_release();
    let mut last = old.run("1");
    for _ in 0..1_000_000 {
        last = old.submit(Submission { origin: Origin::RunSync, ..job("1") }).unwrap().id;
    }
    old.purge().await;
    let measured = tokio::spawn({
        let (old, new) = (old.queue.clone(), new.clone());
        async move {
            let mut longest = Duration::ZERO;
            while !new.knows(last) {
                let since = Instant::now();
                old.knows(last);
                new.load();
                longest = longest.max(since.elapsed());
                tokio::task::yield_now().await;
            }
            longest
        }
    });
    let since = Instant::now();
    old.hand_over(&new).await;
    println!("handed over in {:?}, longest pause {:?}", since.elapsed(), measured.await.unwrap());
}

#[tokio::test]
async fn a_great_many_expired_jobs_are_deleted_in_pieces() {
    let queue = queue();
    for _ in 0..1000 {
        queue.run("1");
    }
    queue.advance(Duration::from_secs(25 * 60 * 60));
    let mut looks = 1;
    while queue.end_overdue() == Due::More {
        looks += 1;
    }
    assert_eq!((looks, queue.has_jobs()), (1000_usize.div_ceil(256), false));
}

#[tokio::test]
async fn what_comes_while_a_queue_is_purged_stays() {
    let queue = queue();
    for _ in 0..600 {
        queue.run("1");
    }
    let mut purging = Box::pin(queue.purge());
    assert!(futures_util::poll!(&mut purging).is_pending());
    let late = queue.run("2");
    assert_eq!(purging.await, 600);
    assert_eq!((status(&queue, late), queue.load().waiting), (InQueue, 1));
}
