//! Who gets a slot, in which order, and what becomes of those who leave.
use std::{pin::Pin, task::Poll};

use flash_protocol::wire::exchange::{self, ToPlatform, ToWorker};

use super::*;

const HOLD: Duration = Duration::from_secs(120);

type Asking = Pin<Box<dyn Future<Output = Result<Slot, NoBackend>> + Send>>;

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn only(worker: &str) -> WorkerChoice {
    WorkerChoice::Only(worker.into())
}

/// A balancer with these workers and their slots.
fn balancer(workers: &[(&str, u32)]) -> Arc<Balancer> {
    let balancer = Arc::new(Balancer::default());
    for (worker, slots) in workers {
        balancer.attach(&(*worker).into(), address(1), *slots, Account::free(), None);
    }
    balancer
}

/// Asks for a slot, until it must wait.
fn ask(balancer: &Arc<Balancer>, choice: WorkerChoice) -> (Asking, Poll<Result<Slot, NoBackend>>) {
    let balancer = balancer.clone();
    let mut asking: Asking =
        Box::pin(async move { balancer.acquire(&choice, WaitLimit::of(HOLD), "r").await });
    let first = poll(&mut asking);
    (asking, first)
}

fn poll(asking: &mut Asking) -> Poll<Result<Slot, NoBackend>> {
    asking.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

fn slot(balancer: &Arc<Balancer>, choice: WorkerChoice) -> Slot {
    match ask(balancer, choice).1 {
        Poll::Ready(Ok(slot)) => slot,
        Poll::Ready(Err(none)) => panic!("{none}"),
        Poll::Pending => panic!("no slot is free"),
    }
}

fn waits(balancer: &Arc<Balancer>, choice: WorkerChoice) -> Asking {
    let (asking, first) = ask(balancer, choice);
    assert!(first.is_pending());
    asking
}

#[tokio::test]
async fn a_worker_with_batches_is_filled_before_the_next_one_gets_any() {
    let balancer = Balancer::new(Some(2), false);
    for worker in ["a", "b"] {
        balancer.attach(&worker.into(), address(1), 4, Account::free(), None);
    }
    let slots: Vec<Slot> = (0..8).map(|_| slot(&balancer, WorkerChoice::Any)).collect();
    let first: Vec<bool> = slots.iter().map(|own| own.worker == slots[0].worker).collect();
    assert_eq!(first[..4], [true, true, false, false], "a batch, then the other worker's");
    assert_eq!(first.iter().filter(|is_first| **is_first).count(), 4, "then the next batches gather");
}

#[tokio::test]
async fn the_least_loaded_worker_is_chosen_and_a_full_one_never() {
    let balancer = balancer(&[("a", 1), ("b", 2)]);
    let slots = [(); 3].map(|()| slot(&balancer, WorkerChoice::Any));
    let on_b = slots.iter().filter(|slot| &*slot.worker == "b").count();
    assert_eq!(on_b, 2);
    drop(waits(&balancer, WorkerChoice::Any));
    let [first, ..] = slots;
    drop(first);
    slot(&balancer, WorkerChoice::Any);
}

#[tokio::test]
async fn among_idle_workers_the_last_used_one_is_next() {
    let balancer = balancer(&[("a", 4), ("b", 4), ("c", 4)]);
    drop(slot(&balancer, only("b")));
    for _ in 0..10 {
        assert_eq!(&*slot(&balancer, WorkerChoice::Any).worker, "b");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_worker_and_gives_up_in_time() {
    let balancer = balancer(&[]);
    let refused = balancer.acquire(&WorkerChoice::Any, WaitLimit::of(HOLD), "r").await.err();
    assert_eq!(refused, Some(NoBackend::TimedOut(HOLD)));
    assert!(balancer.is_idle(), "nobody waits any more");

    let waiting = tokio::spawn({
        let balancer = balancer.clone();
        async move {
            balancer.acquire(&WorkerChoice::Any, WaitLimit::of(HOLD), "r").await.map(|slot| slot.address)
        }
    });
    balancer.changed().await;
    balancer.attach(&"a".into(), address(1), 1, Account::free(), None);
    assert_eq!(waiting.await.unwrap(), Ok(address(1)));
}

#[tokio::test(start_paused = true)]
async fn asking_again_does_not_begin_the_wait_anew() {
    let balancer = balancer(&[]);
    let limit = WaitLimit::of(HOLD);
    tokio::time::advance(HOLD - Duration::from_secs(1)).await;
    let asked = tokio::time::Instant::now();
    let refused = balancer.acquire(&WorkerChoice::Any, limit, "r").await.err();
    assert_eq!(refused, Some(NoBackend::TimedOut(HOLD)));
    assert!(asked.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn who_waits_hears_that_no_worker_starts() {
    let balancer = balancer(&[]);
    let mut waiting = waits(&balancer, WorkerChoice::Any);
    balancer.fail_waiting("exit code 1");
    assert_eq!(waiting.as_mut().await.err(), Some(NoBackend::Broken("exit code 1".into())));
}

#[tokio::test]
async fn a_worker_that_runs_keeps_its_waiters_when_others_do_not_start() {
    let balancer = balancer(&[("a", 1)]);
    let busy = slot(&balancer, WorkerChoice::Any);
    let waiting = waits(&balancer, WorkerChoice::Any);
    balancer.fail_waiting("exit code 1");
    drop(busy);
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn slots_go_to_waiters_in_order_of_arrival_and_nobody_overtakes() {
    let balancer = balancer(&[("a", 1)]);
    let mut held = slot(&balancer, WorkerChoice::Any);
    let mut line: Vec<Asking> = (0..50).map(|_| waits(&balancer, WorkerChoice::Any)).collect();
    while !line.is_empty() {
        drop(held);
        // A request that arrives after the slot was returned and before its new owner wakes up.
        let late = waits(&balancer, WorkerChoice::Any);
        let rest = line.split_off(1);
        let Poll::Ready(Ok(next)) = poll(&mut line[0]) else { panic!("the first is next") };
        held = next;
        line = rest;
        assert!(line.iter_mut().all(|waiting| poll(waiting).is_pending()));
        drop(late);
    }
}

#[tokio::test]
async fn a_waiter_that_goes_between_hand_over_and_wake_up_gives_the_slot_on() {
    let balancer = balancer(&[("a", 1)]);
    let held = slot(&balancer, WorkerChoice::Any);
    let (gone, next) = (waits(&balancer, WorkerChoice::Any), waits(&balancer, only("a")));
    drop(held);
    drop(gone);
    drop(next.await.unwrap());
    assert!(balancer.is_idle());
    slot(&balancer, WorkerChoice::Any);
}

#[tokio::test]
async fn a_waiter_that_goes_leaves_the_line() {
    let balancer = balancer(&[("a", 1)]);
    let held = slot(&balancer, WorkerChoice::Any);
    drop((waits(&balancer, WorkerChoice::Any), waits(&balancer, only("a"))));
    assert_eq!(balancer.load(Instant::now()).waiting, 0);
    drop(held);
    assert!(balancer.is_idle());
}

#[tokio::test]
async fn a_new_worker_serves_as_many_waiters_as_it_has_slots() {
    let balancer = balancer(&[]);
    let mut line: Vec<Asking> = (0..5).map(|_| waits(&balancer, WorkerChoice::Any)).collect();
    balancer.attach(&"a".into(), address(1), 3, Account::free(), None);
    // Kept while they are counted: a slot that is dropped serves the next one.
    let polled: Vec<_> = line.iter_mut().map(poll).collect();
    let served: Vec<bool> = polled.iter().map(Poll::is_ready).collect();
    assert_eq!(served, [true, true, true, false, false]);
}

#[tokio::test]
async fn a_preferred_worker_is_taken_if_it_has_room_and_any_other_if_not() {
    let balancer = balancer(&[("a", 1), ("b", 8)]);
    let prefer_a = || WorkerChoice::Prefer("a".into());
    let on_a = slot(&balancer, prefer_a());
    assert_eq!(&*on_a.worker, "a");
    assert_eq!(&*slot(&balancer, prefer_a()).worker, "b", "a is full");
    assert_eq!(&*slot(&balancer, WorkerChoice::Prefer("gone".into())).worker, "b");
}

#[tokio::test]
async fn who_wants_one_worker_only_waits_for_its_slot_and_holds_up_nobody_else() {
    let balancer = balancer(&[("a", 1), ("b", 1)]);
    let (on_a, on_b) = (slot(&balancer, only("a")), slot(&balancer, only("b")));
    let mut strict = waits(&balancer, only("a"));
    let any = waits(&balancer, WorkerChoice::Any);
    let load = balancer.load(Instant::now());
    assert_eq!((load.waiting, load.low_priority), (1, 1), "a new worker would help only one of them");
    drop(on_b);
    assert_eq!(&*any.await.unwrap().worker, "b");
    assert!(poll(&mut strict).is_pending());
    drop(on_a);
    assert_eq!(&*strict.await.unwrap().worker, "a");
}

#[tokio::test]
async fn strict_and_other_waiters_share_one_line() {
    let balancer = balancer(&[("a", 1)]);
    let mut held = slot(&balancer, WorkerChoice::Any);
    let wishes = [WorkerChoice::Any, only("a"), only("a"), WorkerChoice::Any, only("a")];
    let line: Vec<Asking> = wishes.into_iter().map(|choice| waits(&balancer, choice)).collect();
    for next in line {
        drop(held);
        held = next.await.unwrap();
    }
}

#[tokio::test]
async fn who_wants_a_worker_that_is_gone_or_goes_hears_it() {
    let balancer = balancer(&[("a", 1), ("b", 1)]);
    let refused = |choice| match ask(&balancer, choice).1 {
        Poll::Ready(Err(none)) => none,
        _ => panic!("not refused"),
    };
    assert_eq!(refused(only("never-was")), NoBackend::Gone);
    let _busy = [slot(&balancer, only("a")), slot(&balancer, only("b"))];
    let (on_a, on_b) = (waits(&balancer, only("a")), waits(&balancer, only("b")));
    balancer.drain(&"a".into());
    balancer.detach(&"b".into());
    assert_eq!(on_a.await.err(), Some(NoBackend::Gone));
    assert_eq!(on_b.await.err(), Some(NoBackend::Gone));
    assert_eq!(refused(only("a")), NoBackend::Gone);
}

#[tokio::test]
async fn a_worker_that_starts_can_be_waited_for() {
    let balancer = balancer(&[]);
    balancer.expect(&"a".into());
    let waiting = waits(&balancer, only("a"));
    balancer.attach(&"a".into(), address(7), 1, Account::free(), None);
    assert_eq!(waiting.await.unwrap().address, address(7));

    balancer.expect(&"b".into());
    let waiting = waits(&balancer, only("b"));
    balancer.detach(&"b".into());
    assert_eq!(waiting.await.err(), Some(NoBackend::Gone));
}

#[tokio::test]
async fn a_request_of_the_worker_before_it_takes_nothing_from_a_resumed_one() {
    let balancer = balancer(&[("a", 1)]);
    let old = slot(&balancer, WorkerChoice::Any);
    balancer.detach(&"a".into());
    balancer.attach(&"a".into(), address(2), 1, Account::free(), None);
    let new = slot(&balancer, WorkerChoice::Any);
    drop(old);
    let waiting = waits(&balancer, WorkerChoice::Any);
    drop(new);
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn more_than_ten_thousand_waiters_are_refused() {
    let balancer = balancer(&[]);
    let line: Vec<Asking> = (0..MAX_WAITING).map(|_| waits(&balancer, WorkerChoice::Any)).collect();
    let refused = balancer.acquire(&WorkerChoice::Any, WaitLimit::of(HOLD), "r").await.err();
    assert_eq!(refused, Some(NoBackend::Full(MAX_WAITING)));
    drop(line);
    drop(waits(&balancer, WorkerChoice::Any));
}

/// A balancer with one worker with this many slots that reports releases, and its frames.
fn telling(slots: u32) -> (Arc<Balancer>, exchange::Reader<tokio::io::DuplexStream>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (frames, queued) = exchange::queue(exchange::FrameFormat::Json);
    tokio::spawn(exchange::serve(near, queued, |_: ToPlatform| {}));
    let balancer = Arc::new(Balancer::default());
    balancer.attach(
        &"a".into(),
        address(1),
        slots,
        Account::free(),
        Some(Exchange::new(frames, http::HeaderValue::from_static("key"))),
    );
    (balancer, exchange::read(far))
}

async fn release(frames: &mut exchange::Reader<tokio::io::DuplexStream>) -> u64 {
    match frames.next::<ToWorker>().await.unwrap() {
        Some(ToWorker::Release(slot)) => slot,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_keeps_its_slot_until_its_worker_lets_go() {
    let (balancer, mut frames) = telling(1);
    let mut left = slot(&balancer, WorkerChoice::Any);
    let name = left.name().unwrap();
    left.sent();
    drop(left);
    let mut next = waits(&balancer, WorkerChoice::Any);
    assert_eq!(release(&mut frames).await, name);
    assert_eq!(balancer.load(Instant::now()).running, 1);
    assert!(!balancer.is_idle() && !balancer.drain_if_idle(&"a".into()));
    balancer.released(&"a".into(), name + 1000);
    assert!(poll(&mut next).is_pending(), "that was another one");
    balancer.released(&"a".into(), name);
    let Poll::Ready(Ok(mut next)) = poll(&mut next) else { panic!("the slot is free") };
    // A request that a client waits for ends with its answer, whatever its worker reports.
    next.sent();
    balancer.released(&"a".into(), next.name().unwrap());
    assert_eq!(balancer.load(Instant::now()).running, 1);
    next.over();
    drop(next);
    assert!(balancer.is_idle(), "answered whole: nobody is asked");
    drop(slot(&balancer, WorkerChoice::Any));
    assert!(balancer.is_idle(), "no worker has seen it");
}

#[tokio::test]
async fn a_worker_is_stuck_with_what_it_holds_beyond_its_time_and_the_grace() {
    let (balancer, _frames) = telling(2);
    let (limit, grace) = (Duration::from_secs(10), Duration::from_millis(250));
    let mut held = slot(&balancer, WorkerChoice::Any);
    held.sent();
    let ten_past = Instant::now() + limit + grace * 2;
    assert!(balancer.stuck(ten_past, limit, grace).is_empty(), "it is waited for");
    drop(held);
    assert!(balancer.stuck(Instant::now() + grace * 2, limit, grace).is_empty(), "it has time left");
    let stuck = balancer.stuck(ten_past + grace, limit, grace);
    assert_eq!(stuck.iter().map(|stuck| &*stuck.worker).collect::<Vec<_>>(), ["a"]);
    balancer.detach(&"a".into());
    assert!(
        balancer.stuck(ten_past + grace, limit, grace).is_empty() && balancer.is_idle(),
        "its process is gone"
    );
}

#[tokio::test]
async fn a_slot_is_free_at_once_where_no_worker_would_say_so() {
    let balancer = balancer(&[("a", 1)]);
    let mut slot = slot(&balancer, WorkerChoice::Any);
    assert_eq!(slot.name(), None);
    slot.sent();
    drop(slot);
    assert!(balancer.is_idle());
}
