//! Runs the batches of one method in this process, one after the other.
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::{BatchLimits, BatchRun, Error, ErrorKind, Result, wire::exchange::BatchedJob};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::line::{Line, Next, Waiting};
use crate::{context::Context, panic};

/// The user's code for one batch. A panic inside is caught by its caller.
pub type RunBatch<I, O> = Arc<dyn Fn(Vec<I>) -> BoxFuture<'static, Result<Vec<Result<O>>>> + Send + Sync>;

/// The cost of a call, as `cost = …` computes it.
pub const fn batch_cost(cost: usize) -> u64 {
    cost as u64
}

/// Gathers the calls of one method and runs them in batches. One batch runs at a time: a model is one resource.
///
/// While a batch runs, calls gather for the next one. So a call that comes alone runs at once, and batches grow with the
/// load. A batch that panics, or that returns a wrong number of results, is split: each of its calls runs once more,
/// alone, so that one bad input fails alone.
pub struct Batcher<I, O> {
    limits: BatchLimits,
    state: Mutex<State<I, O>>,
    /// Another call waits.
    arrived: Notify,
    /// The task that ran batches ended with its runtime, and somebody must take over.
    abandoned: Notify,
}

struct State<I, O> {
    line: Line<Call<I, O>>,
    next_ticket: u64,
    /// Whether a task runs batches.
    is_driven: bool,
    /// How long a batch usually takes.
    learned: Duration,
}

struct Call<I, O> {
    item: I,
    reply: oneshot::Sender<Result<O>>,
    /// That of its caller.
    context: Option<Context>,
}

impl<I, O> Batcher<I, O>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
{
    /// With an empty line.
    pub const fn new(limits: BatchLimits) -> Self {
        let state = State { line: Line::new(), next_ticket: 0, is_driven: false, learned: Duration::ZERO };
        Self {
            limits,
            state: Mutex::new(state),
            arrived: Notify::const_new(),
            abandoned: Notify::const_new(),
        }
    }

    /// Waits for a batch with this item in it, and returns the item's own result.
    ///
    /// Dropping the future takes the item out of the line. If its batch already runs, the batch goes on for the others.
    ///
    /// # Errors
    /// The item's own error; the panic of the method if it also panics with this item alone; [`ErrorKind::Timeout`] if
    /// the caller's deadline passes before a batch has room.
    pub async fn call(&'static self, item: I, cost: u64, run: RunBatch<I, O>) -> Result<O> {
        let (reply, mut result) = oneshot::channel();
        let context = Context::current();
        let ticket = {
            let mut state = self.state.lock();
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.line.push(Waiting {
                ticket,
                cost,
                arrived: now(),
                deadline: context.as_ref().and_then(Context::deadline),
                // Its worker died, or it failed: perhaps of this item.
                alone: context.as_ref().is_some_and(|context| context.attempt() > 1),
                item: Call { item, reply, context: context.clone() },
            });
            ticket
        };
        let _in_line = InLine { batcher: self, ticket };
        loop {
            // Created before the state is looked at, so that no change is missed.
            let abandoned = self.abandoned.notified();
            self.drive(&run);
            tokio::select! {
                result = &mut result => return result.unwrap_or_else(|_| Err(left_the_line())),
                () = abandoned => {}
            }
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().line.len()
    }

    /// Tells the task that runs batches of another call, or starts it.
    fn drive(&'static self, run: &RunBatch<I, O>) {
        let mut state = self.state.lock();
        if state.is_driven {
            drop(state);
            self.arrived.notify_one();
        } else if !state.line.is_empty() {
            state.is_driven = true;
            drop(state);
            // Ends when nobody waits. Each call waits for its own result, so the task outlives its callers by no more
            // than the batch that runs.
            tokio::spawn(self.run_while_any_waits(Driving { batcher: self, has_ended: false }, run.clone()));
        }
    }

    async fn run_while_any_waits(&'static self, mut driving: Driving<I, O>, run: RunBatch<I, O>) {
        loop {
            let next = {
                let mut state = self.state.lock();
                let learned = state.learned;
                let next = state.line.next(&self.limits, now(), learned);
                if matches!(next, Next::Nothing) {
                    state.is_driven = false;
                    driving.has_ended = true;
                }
                next
            };
            match next {
                Next::Nothing => return,
                Next::WaitUntil(until) => tokio::select! {
                    () = tokio::time::sleep_until(until.into()) => {}
                    () = self.arrived.notified() => {}
                },
                Next::Run(batch) => self.run(batch, &run).await,
            }
        }
    }

    async fn run(&self, batch: Vec<Waiting<Call<I, O>>>, run: &RunBatch<I, O>) {
        let calls = batch.into_iter().filter(|call| !call.item.reply.is_closed()).collect();
        let mut taken = Taken { batcher: self, calls };
        if taken.calls.is_empty() {
            return;
        }
        announce(&taken.calls, Announced::Runs);
        let started = now();
        let items = taken.calls.iter().map(|call| call.item.item.clone()).collect();
        let outcome = attempt(run, items).await;
        let took = now().saturating_duration_since(started);
        let calls = std::mem::take(&mut taken.calls);
        match outcome {
            Ok(results) => {
                self.learn(took);
                record(&calls, started, took);
                // A caller that is gone needs no result; the same below.
                calls.into_iter().zip(results).for_each(|(call, result)| drop(call.item.reply.send(result)));
            }
            // It ran alone: nobody has to be kept from its fate.
            Err(error) if calls.len() == 1 => {
                record(&calls, started, took);
                let call = calls.into_iter().next().expect("there is one");
                let _ = call.item.reply.send(Err(error));
            }
            Err(_) => {
                announce(&calls, Announced::Waits);
                // Those that did not have their turn yet.
                taken.calls = calls;
                taken.calls.reverse();
                while let Some(call) = taken.calls.pop() {
                    self.run_alone(call, run).await;
                }
            }
        }
    }

    /// Runs a call whose batch failed.
    async fn run_alone(&self, call: Waiting<Call<I, O>>, run: &RunBatch<I, O>) {
        if call.item.reply.is_closed() {
            return;
        }
        // No reference is held over the run: items need not be `Sync`.
        announce(std::slice::from_ref(&call), Announced::Runs);
        let started = now();
        let items = vec![call.item.item.clone()];
        let mut taken = Taken { batcher: self, calls: vec![call] };
        let result = attempt(run, items)
            .await
            .and_then(|mut results| results.pop().expect("its length was compared with that of the items"));
        let call = taken.calls.pop().expect("it was put there");
        record(std::slice::from_ref(&call), started, now().saturating_duration_since(started));
        let _ = call.item.reply.send(result);
    }

    fn learn(&self, took: Duration) {
        let mut state = self.state.lock();
        state.learned = match state.learned {
            Duration::ZERO => took,
            learned => (learned * 3 + took) / 4,
        };
    }
}

/// What becomes of calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Announced {
    Runs,
    Waits,
}

/// Tells the platform what the calls weigh, if it asked for that.
fn announce<I, O>(calls: &[Waiting<Call<I, O>>], what: Announced) {
    let contexts = || calls.iter().filter_map(|call| Some((call.item.context.as_ref()?, call.cost)));
    let Some(sink) = contexts().find_map(|(context, _)| context.batch_sink()) else { return };
    let weighed = contexts().filter(|(context, _)| context.batch_sink().is_some());
    let jobs = weighed.filter_map(|(context, cost)| {
        let cost = if what == Announced::Runs { cost.max(1) } else { 0 };
        Some(BatchedJob { id: context.job_id()?.to_owned(), attempt: context.attempt(), cost })
    });
    sink(jobs.collect());
}

/// Tells each call what it was in a batch that has ended.
fn record<I, O>(calls: &[Waiting<Call<I, O>>], started: Instant, took: Duration) {
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let total_cost = calls.iter().fold(0_u64, |sum, call| sum.saturating_add(call.cost));
    let costs: Vec<u64> = calls.iter().map(|call| call.cost).collect();
    for ((at, call), share) in calls.iter().enumerate().zip(shares(took, &costs)) {
        let Some(context) = &call.item.context else { continue };
        let run = BatchRun {
            size: u32::try_from(calls.len()).unwrap_or(u32::MAX),
            cost: call.cost,
            total_cost,
            leads: at == 0,
            prepare_us: micros(call.arrived.saturating_duration_since(context.started())),
            wait_us: micros(started.saturating_duration_since(call.arrived)),
            run_us: micros(took),
        };
        context.ran_in_batch(run, share);
    }
}

/// Divides the time of a batch by these costs, where nothing costs less than 1. The sum is exact.
pub(super) fn shares(took: Duration, costs: &[u64]) -> Vec<Duration> {
    let total: u128 = costs.iter().map(|cost| u128::from(*cost).max(1)).sum();
    let mut before = (0, 0);
    let mut share = |cost: &u64| {
        let cost = before.0 + u128::from(*cost).max(1);
        // Nanoseconds of a year times costs of 64 bits fit; beyond, the division is less exact and still in order.
        let until = took.as_nanos().saturating_mul(cost) / total;
        let share = until - before.1;
        before = (cost, until);
        Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    };
    costs.iter().map(&mut share).collect()
}

/// Runs a batch once. It fails as a whole if it panics or returns a wrong number of results.
async fn attempt<I, O>(run: &RunBatch<I, O>, items: Vec<I>) -> Result<Vec<Result<O>>> {
    let expected = items.len();
    let results = panic::catch_async(run(items)).await.and_then(|outcome| outcome)?;
    if results.len() != expected {
        let message = format!(
            "the batch returned {} results for {expected} items: return one for each item, in the same order",
            results.len(),
        );
        return Err(Error::new(ErrorKind::Handler, message));
    }
    Ok(results)
}

fn left_the_line() -> Error {
    Error::new(ErrorKind::Timeout, "the deadline passed before a batch had room")
}

/// The runtime's clock, so that tests can set it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A call in the line, which leaves it when its caller goes.
struct InLine<I: 'static, O: 'static> {
    batcher: &'static Batcher<I, O>,
    ticket: u64,
}

impl<I, O> Drop for InLine<I, O> {
    fn drop(&mut self) {
        self.batcher.state.lock().line.remove(self.ticket);
    }
}

/// Calls of a batch that runs. If its runtime ends amid it, they go back into the line: a call on another runtime runs
/// them again.
struct Taken<'a, I, O> {
    batcher: &'a Batcher<I, O>,
    calls: Vec<Waiting<Call<I, O>>>,
}

impl<I, O> Drop for Taken<'_, I, O> {
    fn drop(&mut self) {
        if self.calls.is_empty() {
            return;
        }
        let mut state = self.batcher.state.lock();
        let waited_for = self.calls.drain(..).filter(|call| !call.item.reply.is_closed());
        waited_for.for_each(|call| state.line.put_back(call));
    }
}

/// Held by the task that runs batches. If it ends with its runtime, a call on another runtime takes over.
struct Driving<I: 'static, O: 'static> {
    batcher: &'static Batcher<I, O>,
    /// Whether nobody waited any more, which it has put down with the state.
    has_ended: bool,
}

impl<I, O> Drop for Driving<I, O> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.batcher.state.lock().is_driven = false;
            self.batcher.abandoned.notify_waiters();
        }
    }
}
