//! Balances the requests of one load-balanced worker type: which worker gets the next request, and which requests
//! wait.
//!
//! It holds the slots of the workers and the line of waiting requests. A free slot goes at once to the request that
//! has waited longest among those that the worker may serve. So while a request waits, no slot that it could use is
//! free. It knows workers as addresses with a number of requests. The gateway transfers the bytes.
mod framed;
mod slot;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::GenerationsByModel;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};

use super::{
    meter::Account,
    queue::{Load, Stuck},
    worker_id::WorkerId,
};

pub(crate) use framed::{Answered, Exchange};
use slot::Progress;
pub(crate) use slot::Slot;

/// Requests that may wait for a worker; more are refused.
const MAX_WAITING: usize = 10_000;

/// No worker is available.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBackend {
    /// Too many wait already.
    #[error("{0} requests are already waiting for a worker")]
    Full(usize),
    /// None became free in time.
    #[error("no workers available: none was free within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// None starts.
    #[error("no workers available: none could start: {0}")]
    Broken(String),
    /// The requested worker does not exist or is stopping.
    #[error("the worker is gone")]
    Gone,
}

/// Which worker a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WorkerChoice {
    /// The least loaded.
    Any,
    /// This one if it has a free slot, else the least loaded.
    Prefer(WorkerId),
    /// This one, and no other.
    Only(WorkerId),
}

/// How long a request may wait in total.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitLimit {
    limit: Duration,
    until: tokio::time::Instant,
}

impl WaitLimit {
    /// From now on.
    pub(crate) fn of(limit: Duration) -> Self {
        Self { limit, until: tokio::time::Instant::now() + limit }
    }
}

/// The workers of one load-balanced worker type in one release. Cheap to share.
#[derive(Default)]
pub(crate) struct Balancer {
    inner: Mutex<Inner>,
    /// Load arrived: the autoscaler looks sooner.
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    /// How many requests a worker gets before another one gets any: its batch, which is cheapest when it is full.
    fill: Option<usize>,
    /// Whether the workers have models, and say what these did for a request.
    has_models: bool,
    backends: HashMap<WorkerId, Backend>,
    /// Starting workers; requests for one of them may wait for it.
    coming: HashSet<WorkerId>,
    /// Requests that wait for any worker, in order of arrival.
    anyone: BTreeMap<u64, Waiter>,
    /// Requests that wait for one specific worker, in order of arrival. They share the numbering of the line.
    only: HashMap<WorkerId, BTreeMap<u64, Waiter>>,
    /// Numbers waiters and slots.
    next: u64,
}

struct Waiter {
    since: Instant,
    request_id: Arc<str>,
    turn: oneshot::Sender<Result<Slot, NoBackend>>,
}

struct Backend {
    address: SocketAddr,
    /// Of a worker that reports when nothing of a request runs any more.
    exchange: Option<Exchange>,
    account: Account,
    slots: usize,
    requests: Vec<Served>,
    /// Requests that nobody waits for, until the worker has released them.
    abandoned: Vec<Abandoned>,
    idle_since: Instant,
    draining: bool,
}

/// A request that a worker serves.
struct Served {
    slot: u64,
    request_id: Arc<str>,
    /// Where the worker's word about its models goes, while it has not come.
    generated: Option<oneshot::Sender<GenerationsByModel>>,
}

/// A request that nobody waits for. Its thread may still run and hold its slot.
struct Abandoned {
    slot: u64,
    began: Instant,
    since: Instant,
}

impl Backend {
    fn has_room(&self) -> bool {
        !self.draining && self.requests.len() < self.slots
    }

    fn end(&mut self, slot: u64) {
        // By number: a resumed worker has the id of one whose requests may still be ending.
        self.requests.retain(|request| request.slot != slot);
        self.abandoned.retain(|abandoned| abandoned.slot != slot);
        self.idle_since = Instant::now();
    }

    /// Asks the worker to report the end of this request; `false` if it cannot.
    fn abandon(&mut self, slot: u64, began: Instant) -> bool {
        let known = self.requests.iter().any(|request| request.slot == slot);
        let asked = known && self.exchange.as_ref().is_some_and(|exchange| exchange.release(slot));
        if asked {
            self.abandoned.push(Abandoned { slot, began, since: Instant::now() });
        }
        asked
    }
}

/// A place in the line; left on drop, also when the client goes away.
struct Waiting<'a> {
    balancer: &'a Balancer,
    number: u64,
    only: Option<WorkerId>,
    // After leaving the line: a slot that was handed over at this moment is passed on.
    turn: oneshot::Receiver<Result<Slot, NoBackend>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.balancer.lock().leave(self.number, self.only.as_ref());
    }
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn waiting(&self) -> usize {
        self.anyone.len() + self.only.values().map(BTreeMap::len).sum::<usize>()
    }

    fn leave(&mut self, number: u64, only: Option<&WorkerId>) {
        match only {
            None => drop(self.anyone.remove(&number)),
            Some(worker) => {
                if let Some(line) = self.only.get_mut(worker) {
                    line.remove(&number);
                    if line.is_empty() {
                        self.only.remove(worker);
                    }
                }
            }
        }
    }

    /// The longest waiting request that this worker may serve.
    fn next_for(&mut self, worker: &WorkerId) -> Option<Waiter> {
        let first = |line: &BTreeMap<u64, Waiter>| line.keys().next().copied();
        let (anyone, only) = (first(&self.anyone), self.only.get(worker).and_then(first));
        let own = only.is_some_and(|only| anyone.is_none_or(|anyone| only < anyone));
        if !own {
            return self.anyone.pop_first().map(|(_, waiter)| waiter);
        }
        let line = self.only.get_mut(worker)?;
        let (_, waiter) = line.pop_first()?;
        if line.is_empty() {
            self.only.remove(worker);
        }
        Some(waiter)
    }

    /// The worker for a request at this moment.
    fn choose(&self, choice: &WorkerChoice) -> Option<WorkerId> {
        let has_room = |worker: &WorkerId| self.backends.get(worker).is_some_and(Backend::has_room);
        match choice {
            WorkerChoice::Only(worker) => has_room(worker).then(|| worker.clone()),
            WorkerChoice::Prefer(worker) if has_room(worker) => Some(worker.clone()),
            WorkerChoice::Any | WorkerChoice::Prefer(_) => {
                let free = self.backends.iter().filter(|(_, backend)| backend.has_room());
                // Among equals, the last used one, so that others can become idle.
                let next = free.min_by_key(|(_, backend)| {
                    (place(backend.requests.len(), self.fill), Reverse(backend.idle_since))
                });
                next.map(|(worker, _)| worker.clone())
            }
        }
    }

    /// Takes a slot of a worker that has room.
    fn occupy(&mut self, balancer: &Arc<Balancer>, worker: &WorkerId, request_id: Arc<str>) -> Option<Slot> {
        let number = self.number();
        let backend = self.backends.get_mut(worker).filter(|backend| backend.has_room())?;
        let (sender, generated) = self.has_models.then(oneshot::channel).unzip();
        let served = Served { slot: number, request_id: request_id.clone(), generated: sender };
        backend.requests.push(served);
        let mut cost_share = backend.account.begin();
        cost_share.charge_to(request_id);
        let (worker, address, exchange) = (worker.clone(), backend.address, backend.exchange.clone());
        let (balancer, since) = (balancer.clone(), Instant::now());
        let progress = Progress::Unsent;
        Some(Slot {
            balancer,
            number,
            worker,
            address,
            cost_share,
            since,
            waited: Duration::ZERO,
            ending: None,
            progress,
            generated,
            exchange,
        })
    }

    /// Requests that wait for this worker only will never be served.
    fn give_up_on(&mut self, worker: &WorkerId) {
        for waiter in self.only.remove(worker).unwrap_or_default().into_values() {
            // A request whose client has disconnected needs no answer.
            let _ = waiter.turn.send(Err(NoBackend::Gone));
        }
    }
}

/// Where a worker with this many requests stands in the order in which workers get the next one: the least loaded first.
/// With batches, the one whose batch is the fullest and has room, then the least loaded.
fn place(requests: usize, fill: Option<usize>) -> (bool, usize) {
    match fill {
        Some(fill) if requests < fill => (false, fill - requests),
        Some(_) => (true, requests),
        None => (false, requests),
    }
}

impl Balancer {
    /// Without workers. With `fill`, each worker gets that many requests before another one gets any.
    pub(crate) fn new(fill: Option<usize>, has_models: bool) -> Arc<Self> {
        let inner = Inner { fill, has_models, ..Inner::default() };
        Arc::new(Self { inner: Mutex::new(inner), changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Waits until load arrived.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A worker starts.
    pub(crate) fn expect(&self, worker: &WorkerId) {
        self.lock().coming.insert(worker.clone());
    }

    /// A worker is ready for requests. Their cost goes to its account. With `exchange`, it reports when it has released
    /// a request.
    pub(crate) fn attach(
        self: &Arc<Self>,
        worker: &WorkerId,
        address: SocketAddr,
        slots: u32,
        account: Account,
        exchange: Option<Exchange>,
    ) {
        let backend = Backend {
            address,
            exchange,
            account,
            slots: slots.max(1) as usize,
            requests: Vec::new(),
            abandoned: Vec::new(),
            idle_since: Instant::now(),
            draining: false,
        };
        let mut inner = self.lock();
        inner.coming.remove(worker);
        inner.backends.insert(worker.clone(), backend);
        self.hand_out(inner, worker);
    }

    /// A worker has released a request that nobody waited for.
    pub(crate) fn released(self: &Arc<Self>, worker: &WorkerId, slot: u64) {
        let mut inner = self.lock();
        if let Some(backend) = inner.backends.get_mut(worker) {
            // A request that a client still waits for ends with its answer.
            if backend.abandoned.iter().any(|abandoned| abandoned.slot == slot) {
                backend.end(slot);
            }
        }
        self.hand_out(inner, worker);
    }

    /// A worker has said what models did for a request.
    pub(crate) fn generated(&self, worker: &WorkerId, slot: u64, models: GenerationsByModel) {
        let mut inner = self.lock();
        let backend = inner.backends.get_mut(worker);
        let served = backend.and_then(|backend| backend.requests.iter_mut().find(|one| one.slot == slot));
        // Its line may be written already.
        let _ = served.and_then(|served| served.generated.take()).map(|line| line.send(models));
    }

    /// Workers that hold a request for longer than `grace`, although nobody waits for it and its time `limit` has
    /// passed.
    pub(crate) fn stuck(&self, now: Instant, limit: Duration, grace: Duration) -> Vec<Stuck> {
        let inner = self.lock();
        let stuck = |(worker, backend): (&WorkerId, &Backend)| {
            let since =
                backend.abandoned.iter().map(|request| request.since.max(request.began + limit)).min()?;
            let stopping_for = Some(now.saturating_duration_since(since)).filter(|time| *time > grace)?;
            Some(Stuck { worker: worker.clone(), stopping_for })
        };
        inner.backends.iter().filter_map(stuck).collect()
    }

    /// A worker gets no more requests. Those it has it may finish.
    pub(crate) fn drain(&self, worker: &WorkerId) {
        let mut inner = self.lock();
        if let Some(backend) = inner.backends.get_mut(worker) {
            backend.draining = true;
        }
        inner.give_up_on(worker);
    }

    /// Like [`Balancer::drain`], but only if it has no requests.
    pub(crate) fn drain_if_idle(&self, worker: &WorkerId) -> bool {
        let mut inner = self.lock();
        let backend = inner.backends.get_mut(worker).filter(|backend| backend.requests.is_empty());
        backend.map(|backend| backend.draining = true).is_some()
    }

    /// A worker has ended.
    pub(crate) fn detach(&self, worker: &WorkerId) {
        let mut inner = self.lock();
        inner.backends.remove(worker);
        inner.coming.remove(worker);
        inner.give_up_on(worker);
        drop(inner);
        self.changed.notify_one();
    }

    /// No worker can start: waiting requests fail with the reason, unless a running worker can still serve them.
    pub(crate) fn fail_waiting(&self, reason: &str) {
        let mut inner = self.lock();
        if inner.backends.values().any(|backend| !backend.draining) {
            return;
        }
        for waiter in std::mem::take(&mut inner.anyone).into_values() {
            // A request whose client has disconnected needs no answer.
            let _ = waiter.turn.send(Err(NoBackend::Broken(reason.to_owned())));
        }
    }

    /// Waits for a slot on a worker that the request accepts. Dropping the future leaves the line.
    ///
    /// # Errors
    /// Why there is no slot.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        choice: &WorkerChoice,
        limit: WaitLimit,
        request_id: &str,
    ) -> Result<Slot, NoBackend> {
        let mut waiting = match self.take_or_queue(choice, request_id)? {
            Ok(slot) => return Ok(slot),
            Err(waiting) => waiting,
        };
        self.changed.notify_one();
        match tokio::time::timeout_at(limit.until, &mut waiting.turn).await {
            Ok(Ok(turn)) => turn,
            // The sender lives as long as the balancer.
            Ok(Err(_)) => Err(NoBackend::Gone),
            // It may have arrived at this moment.
            Err(_) => waiting.turn.try_recv().unwrap_or(Err(NoBackend::TimedOut(limit.limit))),
        }
    }

    /// A slot, or else a place in the line.
    fn take_or_queue(
        self: &Arc<Self>,
        choice: &WorkerChoice,
        request_id: &str,
    ) -> Result<Result<Slot, Waiting<'_>>, NoBackend> {
        let mut inner = self.lock();
        let request_id: Arc<str> = request_id.into();
        if let Some(worker) = inner.choose(choice)
            && let Some(slot) = inner.occupy(self, &worker, request_id.clone())
        {
            return Ok(Ok(slot));
        }
        let waiting = inner.waiting();
        if waiting >= MAX_WAITING {
            return Err(NoBackend::Full(waiting));
        }
        let number = inner.number();
        let (sender, turn) = oneshot::channel();
        let waiter = Waiter { since: Instant::now(), request_id, turn: sender };
        let only = match choice {
            WorkerChoice::Any | WorkerChoice::Prefer(_) => {
                inner.anyone.insert(number, waiter);
                None
            }
            WorkerChoice::Only(worker) => {
                let serves = inner.backends.get(worker).is_some_and(|backend| !backend.draining);
                if !serves && !inner.coming.contains(worker) {
                    return Err(NoBackend::Gone);
                }
                inner.only.entry(worker.clone()).or_default().insert(number, waiter);
                Some(worker.clone())
            }
        };
        Ok(Err(Waiting { balancer: self, number, only, turn }))
    }

    /// Gives the free slots of a worker to the requests that have waited longest.
    fn hand_out(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>, worker: &WorkerId) {
        let mut turns = Vec::new();
        while inner.backends.get(worker).is_some_and(Backend::has_room)
            && let Some(waiter) = inner.next_for(worker)
        {
            let slot = inner.occupy(self, worker, waiter.request_id);
            turns.extend(slot.map(|slot| (waiter.turn, slot)));
        }
        // A slot that is not received returns here on drop, which takes the lock.
        drop(inner);
        for (turn, slot) in turns {
            let _ = turn.send(Ok(slot));
        }
    }

    /// The load. Requests that wait for one specific worker are not counted, because another worker would not help.
    pub(crate) fn load(&self, now: Instant) -> Load {
        let inner = self.lock();
        let oldest = inner.anyone.values().next();
        Load {
            waiting: inner.anyone.len(),
            low_priority: inner.waiting() - inner.anyone.len(),
            delayed: 0,
            low_priority_running: 0,
            fanned_out: 0,
            oldest_wait: oldest.map_or(Duration::ZERO, |waiter| now.saturating_duration_since(waiter.since)),
            running: inner.backends.values().map(|backend| backend.requests.len()).sum(),
            consumers: inner
                .backends
                .iter()
                .map(|(worker, backend)| {
                    let idle = (backend.requests.is_empty()).then_some(backend.idle_since);
                    (worker.clone(), backend.requests.len(), idle)
                })
                .collect(),
        }
    }

    /// The request that a worker serves, if it serves exactly one: its output belongs to it.
    pub(crate) fn only_request(&self, worker: &WorkerId) -> Option<String> {
        match self.lock().backends.get(worker)?.requests.as_slice() {
            [only] => Some(only.request_id.to_string()),
            _ => None,
        }
    }

    /// All requests that a worker serves.
    pub(crate) fn requests_on(&self, worker: &WorkerId) -> Vec<String> {
        let inner = self.lock();
        let requests = inner.backends.get(worker).into_iter().flat_map(|backend| &backend.requests);
        requests.map(|request| request.request_id.to_string()).collect()
    }

    /// Whether no request waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.waiting() == 0 && inner.backends.values().all(|backend| backend.requests.is_empty())
    }
}

#[cfg(test)]
mod tests;
