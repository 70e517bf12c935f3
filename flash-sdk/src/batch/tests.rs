use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use flash_protocol::{BatchLimits, Error, ErrorKind, Result};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{
    Batcher, RunBatch,
    line::{Line, Next, Waiting},
};
use crate::context::{Context, Setup};

const UNLIMITED: BatchLimits =
    BatchLimits { max: 32, budget: None, padded: false, wait_ms: 0, weighed: false };

mod choice {
    use super::*;

    /// A line of calls with these costs, each named by its place.
    fn line(costs: &[u64], now: Instant) -> Line<usize> {
        let mut line = Line::new();
        for (at, cost) in costs.iter().enumerate() {
            line.push(call(at, *cost, now));
        }
        line
    }

    fn call(at: usize, cost: u64, arrived: Instant) -> Waiting<usize> {
        Waiting { ticket: at as u64, cost, arrived, deadline: None, alone: false, item: at }
    }

    fn ran(next: Next<usize>) -> Vec<usize> {
        match next {
            Next::Run(batch) => batch.into_iter().map(|call| call.item).collect(),
            other => panic!("nothing runs: {other:?}"),
        }
    }

    #[test]
    fn calls_run_in_order_of_arrival_up_to_the_maximum() {
        let now = Instant::now();
        let mut line = line(&[1; 5], now);
        let limits = BatchLimits { max: 3, ..UNLIMITED };
        assert_eq!(ran(line.next(&limits, now, Duration::ZERO)), [0, 1, 2]);
        assert_eq!(ran(line.next(&limits, now, Duration::ZERO)), [3, 4]);
        assert!(matches!(line.next(&limits, now, Duration::ZERO), Next::Nothing));
    }

    #[test]
    fn a_budget_counts_the_sum_or_the_longest_for_each() {
        let now = Instant::now();
        let summed = BatchLimits { budget: Some(10), ..UNLIMITED };
        assert_eq!(ran(line(&[4, 4, 4], now).next(&summed, now, Duration::ZERO)), [0, 1]);
        // Three times 4 is 12, two times 6 is 12, two times 4 is 8.
        let padded = BatchLimits { padded: true, ..summed };
        assert_eq!(ran(line(&[4, 6, 4, 4], now).next(&padded, now, Duration::ZERO)), [0, 2]);
    }

    #[test]
    fn neighbours_by_cost_go_together_but_the_oldest_always_goes() {
        let now = Instant::now();
        let mut line = line(&[100, 5, 90, 6, 95], now);
        let limits = BatchLimits { budget: Some(300), padded: true, ..UNLIMITED };
        assert_eq!(ran(line.next(&limits, now, Duration::ZERO)), [0, 2, 4]);
        assert_eq!(ran(line.next(&limits, now, Duration::ZERO)), [1, 3]);
    }

    #[test]
    fn a_call_over_the_budget_runs_alone() {
        let now = Instant::now();
        let mut line = line(&[50, 1, 1], now);
        let limits = BatchLimits { budget: Some(10), ..UNLIMITED };
        assert_eq!(ran(line.next(&limits, now, Duration::ZERO)), [0]);
        assert_eq!(ran(line.next(&limits, now, Duration::ZERO)), [1, 2]);
    }

    #[test]
    fn a_suspect_runs_alone_and_is_in_nobodys_batch() {
        let now = Instant::now();
        let mut line = line(&[1], now);
        line.push(Waiting { alone: true, ..call(1, 1, now) });
        line.push(call(2, 1, now));
        assert_eq!(ran(line.next(&UNLIMITED, now, Duration::ZERO)), [0, 2]);
        assert_eq!(ran(line.next(&UNLIMITED, now, Duration::ZERO)), [1]);
    }

    #[test]
    fn it_waits_for_others_only_while_there_is_room_and_time() {
        let now = Instant::now();
        let limits = BatchLimits { max: 2, wait_ms: 10, ..UNLIMITED };
        let ten = Duration::from_millis(10);
        let until = |next| match next {
            Next::WaitUntil(until) => until,
            other => panic!("it does not wait: {other:?}"),
        };
        let mut waits = line(&[1], now);
        assert_eq!(until(waits.next(&limits, now, Duration::ZERO)), now + ten);
        assert_eq!(ran(waits.next(&limits, now + ten, Duration::ZERO)), [0]);
        assert_eq!(ran(line(&[1, 1], now).next(&limits, now, Duration::ZERO)), [0, 1], "it is full");

        // A batch takes 3 ms and the caller leaves after 8: it must start after 5.
        let mut pressed = Line::new();
        pressed.push(Waiting { deadline: Some(now + Duration::from_millis(8)), ..call(0, 1, now) });
        let learned = Duration::from_millis(3);
        assert_eq!(until(pressed.next(&limits, now, learned)), now + Duration::from_millis(5));
        assert_eq!(ran(pressed.next(&limits, now + Duration::from_millis(5), learned)), [0]);
    }

    #[test]
    fn who_is_too_late_or_gone_does_not_run() {
        let now = Instant::now();
        let mut line = line(&[1, 1], now);
        line.push(Waiting { deadline: Some(now), ..call(2, 1, now) });
        line.remove(0);
        line.remove(7);
        assert_eq!(ran(line.next(&UNLIMITED, now, Duration::ZERO)), [1]);
        assert!(line.is_empty());
    }
}

/// What one batcher was asked to run, batch by batch.
type Batches = Arc<Mutex<Vec<Vec<u32>>>>;

fn batcher(limits: BatchLimits) -> &'static Batcher<u32, u32> {
    Box::leak(Box::new(Batcher::new(limits)))
}

/// Doubles each number once `gate` lets the batch through. A batch with 13 panics; one with 7 loses a result.
fn doubling(batches: &Batches, gate: &Arc<Semaphore>) -> RunBatch<u32, u32> {
    let (batches, gate) = (batches.clone(), gate.clone());
    Arc::new(move |items: Vec<u32>| {
        let (batches, gate) = (batches.clone(), gate.clone());
        Box::pin(async move {
            batches.lock().push(items.clone());
            gate.acquire().await.unwrap().forget();
            assert!(!items.contains(&13), "unlucky");
            let mut results: Vec<Result<u32>> = items
                .iter()
                .map(|item| item.checked_mul(2).ok_or_else(|| Error::handler("too large")))
                .collect();
            if items.contains(&7) {
                results.pop();
            }
            Ok(results)
        })
    })
}

fn open() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))
}

#[tokio::test]
async fn while_a_batch_runs_the_next_one_gathers() {
    let (batches, gate) = (Batches::default(), Arc::new(Semaphore::new(0)));
    let (batcher, run) = (batcher(UNLIMITED), doubling(&batches, &gate));
    let first = tokio::spawn(batcher.call(1, 1, run.clone()));
    while batches.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let others: Vec<_> = (2..=5).map(|item| tokio::spawn(batcher.call(item, 1, run.clone()))).collect();
    while batcher.waiting() < 4 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(2);
    assert_eq!(first.await.unwrap().unwrap(), 2);
    let results: Vec<u32> =
        join_all(others).await.into_iter().map(|result| result.unwrap().unwrap()).collect();
    assert_eq!(results, [4, 6, 8, 10]);
    assert_eq!(*batches.lock(), [vec![1], vec![2, 3, 4, 5]]);
}

#[tokio::test]
async fn one_bad_item_of_ten_thousand_fails_alone_and_only_its_batch_runs_again() {
    const ITEMS: u32 = 10_000;
    let batches = Batches::default();
    let (batcher, run) = (batcher(UNLIMITED), doubling(&batches, &open()));
    let calls = (0..ITEMS).map(|item| batcher.call(item, 1, run.clone()));
    let results = join_all(calls).await;
    let ran: usize = batches.lock().iter().map(Vec::len).sum();
    assert_eq!(ran, ITEMS as usize + UNLIMITED.max as usize);
    for (item, result) in results.into_iter().enumerate() {
        match (item, result) {
            (13, result) => assert_eq!(result.unwrap_err().kind(), ErrorKind::Panic),
            (7, result) => {
                let error = result.unwrap_err();
                assert!(error.message().contains("returned 0 results for 1 items"), "{error}");
            }
            (item, result) => assert_eq!(result.unwrap(), 2 * u32::try_from(item).unwrap()),
        }
    }
}

#[tokio::test]
async fn an_error_of_one_item_is_no_failure_of_its_batch() {
    let batches = Batches::default();
    let (batcher, run) = (batcher(UNLIMITED), doubling(&batches, &open()));
    let results = join_all([1, u32::MAX, 3].map(|item| batcher.call(item, 1, run.clone()))).await;
    let [first, second, third] = results.try_into().unwrap();
    assert_eq!((first.unwrap(), third.unwrap()), (2, 6));
    assert_eq!(second.unwrap_err().message(), "too large");
    assert_eq!(batches.lock().iter().flatten().count(), 3, "nothing ran twice");
}

#[tokio::test]
async fn a_caller_that_leaves_is_left_out_or_let_go_and_the_others_go_on() {
    let (batches, gate) = (Batches::default(), Arc::new(Semaphore::new(0)));
    let (batcher, run) = (batcher(UNLIMITED), doubling(&batches, &gate));
    let running = tokio::spawn(batcher.call(1, 1, run.clone()));
    while batches.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let waiting = tokio::spawn(batcher.call(2, 1, run.clone()));
    let stays = tokio::spawn(batcher.call(3, 1, run.clone()));
    while batcher.waiting() < 2 {
        tokio::task::yield_now().await;
    }
    running.abort();
    waiting.abort();
    assert!(running.await.unwrap_err().is_cancelled() && waiting.await.unwrap_err().is_cancelled());
    gate.add_permits(2);
    assert_eq!(stays.await.unwrap().unwrap(), 6);
    assert_eq!(*batches.lock(), [vec![1], vec![3]]);
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_line_is_a_timeout() {
    let batches = Batches::default();
    let (batcher, run) = (batcher(UNLIMITED), doubling(&batches, &open()));
    let envelope = flash_protocol::wire::envelope::Envelope { deadline_ms: Some(1), ..Default::default() };
    let context = Context::new(Setup { envelope, ..Setup::default() });
    let error = context.scope(batcher.call(1, 1, run)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(batches.lock().is_empty());
}

#[test]
fn a_runtime_that_ends_amid_a_batch_leaves_the_line_to_others() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (batches, gate) = (Batches::default(), Arc::new(Semaphore::new(0)));
    let (batcher, run) = (batcher(UNLIMITED), doubling(&batches, &gate));
    let (first, second) = (runtime(), runtime());
    let lost = first.spawn(batcher.call(1, 1, run.clone()));
    let begun = Arc::new(AtomicUsize::new(0));
    let seen = begun.clone();
    let stays = second.spawn(async move {
        while batches.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        let call = batcher.call(2, 1, run);
        seen.store(1, Ordering::SeqCst);
        call.await
    });
    while begun.load(Ordering::SeqCst) == 0 || batcher.waiting() == 0 {
        std::thread::yield_now();
    }
    first.shutdown_background();
    gate.add_permits(2);
    assert_eq!(second.block_on(stays).unwrap().unwrap(), 4);
    drop(lost);
}

#[test]
fn a_call_in_a_batch_of_a_runtime_that_ends_runs_again_on_its_own() {
    let runtime =
        || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (batches, gate) = (Batches::default(), Arc::new(Semaphore::new(0)));
    let (batcher, run) = (batcher(UNLIMITED), doubling(&batches, &gate));
    let (first, second) = (runtime(), runtime());
    let until = |count: usize| {
        while batches.lock().len() < count {
            std::thread::yield_now();
        }
    };
    let ended = first.spawn(batcher.call(1, 1, run.clone()));
    until(1);
    let stays = second.spawn(batcher.call(2, 1, run));
    while batcher.waiting() == 0 {
        std::thread::yield_now();
    }
    // The first runtime goes on with the call of the second one, and ends amid it.
    gate.add_permits(1);
    until(2);
    first.shutdown_background();
    until(3);
    gate.add_permits(1);
    assert_eq!(second.block_on(stays).unwrap().unwrap(), 4);
    assert_eq!(*batches.lock(), [vec![1], vec![2], vec![2]]);
    drop(ended);
}

mod division {
    use super::*;
    use crate::batch::batcher::shares;

    #[test]
    fn the_shares_of_a_batch_are_its_time_to_the_nanosecond() {
        let took = Duration::from_nanos(1_000_003);
        for costs in [vec![1], vec![0, 0, 0], vec![7, 1, 1, 1], vec![u64::MAX, 1], (0..5000).collect()] {
            let divided = shares(took, &costs);
            assert_eq!(divided.iter().sum::<Duration>(), took, "{} costs", costs.len());
        }
        let [cheap, expensive] = shares(Duration::from_millis(40), &[1, 3])[..] else { panic!("two") };
        assert_eq!((cheap, expensive), (Duration::from_millis(10), Duration::from_millis(30)));
    }
}
