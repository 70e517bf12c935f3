//! An idempotency key creates one job, whatever happens to releases, jobs and the platform.
use super::*;

fn keyed(input: &str) -> Submission {
    Submission { idempotency_key: Some("order-7".into()), ..job(input) }
}

#[tokio::test]
async fn a_key_makes_one_job_in_whatever_release_it_arrives() {
    // A client that was slow may still have the old release when others have the new one.
    let old = queue();
    let new = old.next_release();
    let first = new.submit(keyed("1")).unwrap();
    let again = old.submit(keyed("1")).unwrap();
    assert_eq!((again.id, again.idempotency), (first.id, Idempotency::Repeated));
    assert!(matches!(old.submit(keyed("2")), Err(SubmitError::KeyInUse(id)) if id == first.id));
    old.stored(&again).await.unwrap();
    assert!(!old.has_jobs());
    old.hand_over(&new).await;
    for queue in [&*old, &new] {
        assert_eq!(queue.submit(keyed("1")).unwrap().id, first.id);
    }
}

#[tokio::test]
async fn a_key_is_free_once_its_job_is_gone_from_either_release() {
    let old = queue();
    let new = old.next_release();
    let first = old.submit(keyed("1")).unwrap().id;
    old.cancel(first).unwrap();
    old.hand_over(&new).await;
    old.advance(Duration::from_secs(31 * 60));
    new.end_overdue();
    let second = old.submit(keyed("2")).unwrap();
    assert_eq!(second.idempotency, Idempotency::New);
    assert!(new.knows(second.id));
}

#[tokio::test]
async fn keys_of_another_endpoint_are_others() {
    let here = queue();
    let there = Queue::new("elsewhere", 1, Limits::default(), &here.context, Box::new(|_| ()));
    assert_ne!(here.submit(keyed("1")).unwrap().id, there.submit(keyed("2")).unwrap().id);
}

#[tokio::test]
async fn a_key_of_a_stored_job_is_known_before_any_release_has_taken_it_up() {
    let bench = queue();
    let first = bench.submit(keyed("1")).unwrap();
    bench.stored(&first).await.unwrap();
    bench.settings.store.close();
    let (store, mut backlog, ..) = Backlog::open(bench.directory.path(), Durability::Process).unwrap();
    let context = QueueContext { store, ..bench.context.clone() };
    let live = Queue::new("bench", 2, Limits::default(), &context, Box::new(|_| ()));
    let again = live.submit(keyed("1")).unwrap();
    assert_eq!((again.id, again.idempotency), (first.id, Idempotency::Repeated));
    live.stored(&again).await.unwrap();
    live.adopt(&mut backlog, Claim::All);
    assert_eq!(status(&live, first.id), InQueue);
    // One whose time was over before anybody took it up leaves its key too.
    drop(live);
    context.store.close();
    let (store, mut backlog, ..) = Backlog::open(bench.directory.path(), Durability::Process).unwrap();
    let context = QueueContext { store, ..context };
    bench.advance(Duration::from_secs(25 * 60 * 60));
    backlog.delete_due(&context);
    let live = Queue::new("bench", 3, Limits::default(), &context, Box::new(|_| ()));
    assert_eq!(live.submit(keyed("2")).unwrap().idempotency, Idempotency::New);
}
