//! Requests of one load-balanced worker type: which worker gets the next, and who waits for one.
//!
//! Owns the slots of the workers and the line of those who wait. A slot that comes free goes at once to
//! whoever has waited longest among those that this worker may serve; nobody overtakes. So while somebody
//! waits, no slot that would do for him is free.
//! Knows workers as addresses with a number of requests. Carrying bytes is the gateway's work.
use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, oneshot};

use super::queue::{Load, WorkerId};

/// Requests that may wait for a worker; more are refused.
const MAX_WAITING: usize = 10_000;

/// No worker was to be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBackend {
    /// Too many wait already.
    #[error("{0} requests wait for a worker already")]
    Full(usize),
    /// None became free in time.
    #[error("no workers available: none was free within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// None starts.
    #[error("no workers available: none starts: {0}")]
    Broken(String),
    /// The one worker that would do is not there, or going.
    #[error("the worker is gone")]
    Gone,
}

/// Which worker a request wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The least loaded.
    Any,
    /// This one if it has a free slot, else the least loaded.
    Prefer(WorkerId),
    /// This one, and no other.
    Only(WorkerId),
}

/// For how long a request may wait, however often it has to ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hold {
    limit: Duration,
    until: tokio::time::Instant,
}

impl Hold {
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
    backends: HashMap<WorkerId, Backend>,
    /// Workers that start: who wants one of them may wait for it.
    coming: HashSet<WorkerId>,
    /// Who waits for any worker, in order of arrival.
    anyone: BTreeMap<u64, Waiter>,
    /// Who waits for one worker only, in order of arrival. Numbers are those of one line.
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
    slots: usize,
    /// The requests that it serves: number of the slot and the request's id.
    requests: Vec<(u64, Arc<str>)>,
    idle_since: Instant,
    draining: bool,
}

impl Backend {
    fn has_room(&self) -> bool {
        !self.draining && self.requests.len() < self.slots
    }
}

/// A slot on a worker; given to the next in line on drop.
pub(crate) struct Slot {
    balancer: Arc<Balancer>,
    number: u64,
    pub worker: WorkerId,
    pub address: SocketAddr,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.balancer.lock();
        if let Some(backend) = inner.backends.get_mut(&self.worker) {
            // By number: a resumed worker has the id of one whose requests may still be ending.
            backend.requests.retain(|(number, _)| *number != self.number);
            backend.idle_since = Instant::now();
        }
        self.balancer.hand_out(inner, &self.worker);
    }
}

/// A place in the line; left on drop, also when the client goes away.
struct Waiting<'a> {
    balancer: &'a Balancer,
    number: u64,
    only: Option<WorkerId>,
    // After the place is left: a slot that was handed over in this moment goes on from here.
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

    /// Whoever has waited longest among those that this worker may serve.
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
    fn choose(&self, wish: &Wish) -> Option<WorkerId> {
        let has_room = |worker: &WorkerId| self.backends.get(worker).is_some_and(Backend::has_room);
        match wish {
            Wish::Only(worker) => has_room(worker).then(|| worker.clone()),
            Wish::Prefer(worker) if has_room(worker) => Some(worker.clone()),
            Wish::Any | Wish::Prefer(_) => {
                let free = self.backends.iter().filter(|(_, backend)| backend.has_room());
                // Among equals the last used one, so that the others can go idle.
                let least =
                    free.min_by_key(|(_, backend)| (backend.requests.len(), Reverse(backend.idle_since)));
                least.map(|(worker, _)| worker.clone())
            }
        }
    }

    /// Takes a slot of a worker that has room.
    fn occupy(&mut self, balancer: &Arc<Balancer>, worker: &WorkerId, request_id: Arc<str>) -> Option<Slot> {
        let number = self.number();
        let backend = self.backends.get_mut(worker).filter(|backend| backend.has_room())?;
        backend.requests.push((number, request_id));
        Some(Slot { balancer: balancer.clone(), number, worker: worker.clone(), address: backend.address })
    }

    /// Who waits for this worker only waits in vain.
    fn give_up_on(&mut self, worker: &WorkerId) {
        for waiter in self.only.remove(worker).unwrap_or_default().into_values() {
            // One that went away needs no answer.
            let _ = waiter.turn.send(Err(NoBackend::Gone));
        }
    }
}

impl Balancer {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // As in the queue: the data is what the last full step left.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until load arrived.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A worker starts.
    pub(crate) fn expect(&self, worker: &WorkerId) {
        self.lock().coming.insert(worker.clone());
    }

    /// A worker is ready for requests.
    pub(crate) fn attach(self: &Arc<Self>, worker: &WorkerId, address: SocketAddr, slots: u32) {
        let backend = Backend {
            address,
            slots: slots.max(1) as usize,
            requests: Vec::new(),
            idle_since: Instant::now(),
            draining: false,
        };
        let mut inner = self.lock();
        inner.coming.remove(worker);
        inner.backends.insert(worker.clone(), backend);
        self.hand_out(inner, worker);
    }

    /// A worker gets no more requests. Those it has it may finish.
    pub(crate) fn drain(&self, worker: &WorkerId) {
        let mut inner = self.lock();
        if let Some(backend) = inner.backends.get_mut(worker) {
            backend.draining = true;
        }
        inner.give_up_on(worker);
    }

    /// As [`Balancer::drain`], only if it has none.
    pub(crate) fn drain_if_idle(&self, worker: &WorkerId) -> bool {
        let mut inner = self.lock();
        let backend = inner.backends.get_mut(worker).filter(|backend| backend.requests.is_empty());
        backend.map(|backend| backend.draining = true).is_some()
    }

    /// A worker is gone.
    pub(crate) fn detach(&self, worker: &WorkerId) {
        let mut inner = self.lock();
        inner.backends.remove(worker);
        inner.coming.remove(worker);
        inner.give_up_on(worker);
        drop(inner);
        self.changed.notify_one();
    }

    /// No worker starts: those who wait are told why, unless one that runs can still serve them.
    pub(crate) fn fail_waiting(&self, reason: &str) {
        let mut inner = self.lock();
        if inner.backends.values().any(|backend| !backend.draining) {
            return;
        }
        for waiter in std::mem::take(&mut inner.anyone).into_values() {
            // One that went away needs no answer.
            let _ = waiter.turn.send(Err(NoBackend::Broken(reason.to_owned())));
        }
    }

    /// A slot on the worker that the request wants; waits for one. Dropping the future leaves the line.
    ///
    /// # Errors
    /// Why none was to be had.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        wish: &Wish,
        hold: Hold,
        request_id: &str,
    ) -> Result<Slot, NoBackend> {
        let mut waiting = match self.take_or_queue(wish, request_id)? {
            Taken::Slot(slot) => return Ok(slot),
            Taken::Place(waiting) => waiting,
        };
        self.changed.notify_one();
        match tokio::time::timeout_at(hold.until, &mut waiting.turn).await {
            Ok(Ok(turn)) => turn,
            // The sender goes only with the balancer.
            Ok(Err(_)) => Err(NoBackend::Gone),
            // It may have come in this very moment.
            Err(_) => waiting.turn.try_recv().unwrap_or(Err(NoBackend::TimedOut(hold.limit))),
        }
    }

    fn take_or_queue(self: &Arc<Self>, wish: &Wish, request_id: &str) -> Result<Taken<'_>, NoBackend> {
        let mut inner = self.lock();
        let request_id: Arc<str> = request_id.into();
        if let Some(worker) = inner.choose(wish)
            && let Some(slot) = inner.occupy(self, &worker, request_id.clone())
        {
            return Ok(Taken::Slot(slot));
        }
        let waiting = inner.waiting();
        if waiting >= MAX_WAITING {
            return Err(NoBackend::Full(waiting));
        }
        let number = inner.number();
        let (sender, turn) = oneshot::channel();
        let waiter = Waiter { since: Instant::now(), request_id, turn: sender };
        let only = match wish {
            Wish::Any | Wish::Prefer(_) => {
                inner.anyone.insert(number, waiter);
                None
            }
            Wish::Only(worker) => {
                let serves = inner.backends.get(worker).is_some_and(|backend| !backend.draining);
                if !serves && !inner.coming.contains(worker) {
                    return Err(NoBackend::Gone);
                }
                inner.only.entry(worker.clone()).or_default().insert(number, waiter);
                Some(worker.clone())
            }
        };
        Ok(Taken::Place(Waiting { balancer: self, number, only, turn }))
    }

    /// Gives the free slots of a worker to those who have waited longest.
    fn hand_out(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>, worker: &WorkerId) {
        let mut turns = Vec::new();
        while inner.backends.get(worker).is_some_and(Backend::has_room)
            && let Some(waiter) = inner.next_for(worker)
        {
            let slot = inner.occupy(self, worker, waiter.request_id);
            turns.extend(slot.map(|slot| (waiter.turn, slot)));
        }
        // A slot that finds nobody comes back here by its drop, which takes the lock.
        drop(inner);
        for (turn, slot) in turns {
            let _ = turn.send(Ok(slot));
        }
    }

    /// How busy it is. Who waits for one worker only is no reason to start another: it would not help.
    pub(crate) fn load(&self, now: Instant) -> Load {
        let inner = self.lock();
        let oldest = inner.anyone.values().next();
        Load {
            waiting: inner.anyone.len(),
            low_priority: inner.waiting() - inner.anyone.len(),
            low_priority_running: 0,
            oldest_wait: oldest.map_or(Duration::ZERO, |waiter| now.saturating_duration_since(waiter.since)),
            running: inner.backends.values().map(|backend| backend.requests.len()).sum(),
            takers: inner
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
            [(_, only)] => Some(only.to_string()),
            _ => None,
        }
    }

    /// Whether no request waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.waiting() == 0 && inner.backends.values().all(|backend| backend.requests.is_empty())
    }
}

/// What asking for a worker gives at once.
enum Taken<'a> {
    Slot(Slot),
    Place(Waiting<'a>),
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, task::Poll};

    use super::*;

    const HOLD: Duration = Duration::from_secs(120);

    type Asking = Pin<Box<dyn Future<Output = Result<Slot, NoBackend>> + Send>>;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn only(worker: &str) -> Wish {
        Wish::Only(worker.into())
    }

    /// A balancer with these workers and their slots.
    fn balancer(workers: &[(&str, u32)]) -> Arc<Balancer> {
        let balancer = Arc::new(Balancer::default());
        for (worker, slots) in workers {
            balancer.attach(&(*worker).into(), address(1), *slots);
        }
        balancer
    }

    /// Asks for a slot, up to the first moment when it has to wait.
    fn ask(balancer: &Arc<Balancer>, wish: Wish) -> (Asking, Poll<Result<Slot, NoBackend>>) {
        let balancer = balancer.clone();
        let mut asking: Asking = Box::pin(async move { balancer.acquire(&wish, Hold::of(HOLD), "r").await });
        let first = poll(&mut asking);
        (asking, first)
    }

    fn poll(asking: &mut Asking) -> Poll<Result<Slot, NoBackend>> {
        asking.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }

    fn slot(balancer: &Arc<Balancer>, wish: Wish) -> Slot {
        match ask(balancer, wish).1 {
            Poll::Ready(Ok(slot)) => slot,
            Poll::Ready(Err(none)) => panic!("{none}"),
            Poll::Pending => panic!("no slot is free"),
        }
    }

    fn waits(balancer: &Arc<Balancer>, wish: Wish) -> Asking {
        let (asking, first) = ask(balancer, wish);
        assert!(first.is_pending());
        asking
    }

    #[tokio::test]
    async fn the_least_loaded_worker_is_chosen_and_a_full_one_never() {
        let balancer = balancer(&[("a", 1), ("b", 2)]);
        let slots = [(); 3].map(|()| slot(&balancer, Wish::Any));
        let on_b = slots.iter().filter(|slot| &*slot.worker == "b").count();
        assert_eq!(on_b, 2);
        drop(waits(&balancer, Wish::Any));
        let [first, ..] = slots;
        drop(first);
        slot(&balancer, Wish::Any);
    }

    #[tokio::test]
    async fn among_idle_workers_the_last_used_one_is_next() {
        let balancer = balancer(&[("a", 4), ("b", 4), ("c", 4)]);
        drop(slot(&balancer, only("b")));
        for _ in 0..10 {
            assert_eq!(&*slot(&balancer, Wish::Any).worker, "b");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_worker_and_gives_up_in_time() {
        let balancer = balancer(&[]);
        let refused = balancer.acquire(&Wish::Any, Hold::of(HOLD), "r").await.err();
        assert_eq!(refused, Some(NoBackend::TimedOut(HOLD)));
        assert!(balancer.is_idle(), "nobody waits any more");

        let waiting = tokio::spawn({
            let balancer = balancer.clone();
            async move { balancer.acquire(&Wish::Any, Hold::of(HOLD), "r").await.map(|slot| slot.address) }
        });
        balancer.changed().await;
        balancer.attach(&"a".into(), address(1), 1);
        assert_eq!(waiting.await.unwrap(), Ok(address(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn asking_again_does_not_begin_the_wait_anew() {
        let balancer = balancer(&[]);
        let hold = Hold::of(HOLD);
        tokio::time::advance(HOLD - Duration::from_secs(1)).await;
        let asked = tokio::time::Instant::now();
        let refused = balancer.acquire(&Wish::Any, hold, "r").await.err();
        assert_eq!(refused, Some(NoBackend::TimedOut(HOLD)));
        assert!(asked.elapsed() < Duration::from_secs(2));
    }

    #[tokio::test]
    async fn who_waits_hears_that_no_worker_starts() {
        let balancer = balancer(&[]);
        let mut waiting = waits(&balancer, Wish::Any);
        balancer.fail_waiting("exit code 1");
        assert_eq!(waiting.as_mut().await.err(), Some(NoBackend::Broken("exit code 1".into())));
    }

    #[tokio::test]
    async fn a_worker_that_runs_keeps_its_waiters_when_others_do_not_start() {
        let balancer = balancer(&[("a", 1)]);
        let busy = slot(&balancer, Wish::Any);
        let waiting = waits(&balancer, Wish::Any);
        balancer.fail_waiting("exit code 1");
        drop(busy);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn slots_go_to_waiters_in_order_of_arrival_and_nobody_overtakes() {
        let balancer = balancer(&[("a", 1)]);
        let mut held = slot(&balancer, Wish::Any);
        let mut line: Vec<Asking> = (0..50).map(|_| waits(&balancer, Wish::Any)).collect();
        while !line.is_empty() {
            drop(held);
            // Whoever comes after the slot was given back and before its new owner woke up.
            let late = waits(&balancer, Wish::Any);
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
        let held = slot(&balancer, Wish::Any);
        let (gone, next) = (waits(&balancer, Wish::Any), waits(&balancer, only("a")));
        drop(held);
        drop(gone);
        drop(next.await.unwrap());
        assert!(balancer.is_idle());
        slot(&balancer, Wish::Any);
    }

    #[tokio::test]
    async fn a_waiter_that_goes_leaves_the_line() {
        let balancer = balancer(&[("a", 1)]);
        let held = slot(&balancer, Wish::Any);
        drop((waits(&balancer, Wish::Any), waits(&balancer, only("a"))));
        assert_eq!(balancer.load(Instant::now()).waiting, 0);
        drop(held);
        assert!(balancer.is_idle());
    }

    #[tokio::test]
    async fn a_new_worker_serves_as_many_waiters_as_it_has_slots() {
        let balancer = balancer(&[]);
        let mut line: Vec<Asking> = (0..5).map(|_| waits(&balancer, Wish::Any)).collect();
        balancer.attach(&"a".into(), address(1), 3);
        // Kept while they are counted: a slot that is dropped serves the next one.
        let polled: Vec<_> = line.iter_mut().map(poll).collect();
        let served: Vec<bool> = polled.iter().map(Poll::is_ready).collect();
        assert_eq!(served, [true, true, true, false, false]);
    }

    #[tokio::test]
    async fn a_preferred_worker_is_taken_if_it_has_room_and_any_other_if_not() {
        let balancer = balancer(&[("a", 1), ("b", 8)]);
        let prefer_a = || Wish::Prefer("a".into());
        let on_a = slot(&balancer, prefer_a());
        assert_eq!(&*on_a.worker, "a");
        assert_eq!(&*slot(&balancer, prefer_a()).worker, "b", "a is full");
        assert_eq!(&*slot(&balancer, Wish::Prefer("gone".into())).worker, "b");
    }

    #[tokio::test]
    async fn who_wants_one_worker_only_waits_for_its_slot_and_holds_up_nobody_else() {
        let balancer = balancer(&[("a", 1), ("b", 1)]);
        let (on_a, on_b) = (slot(&balancer, only("a")), slot(&balancer, only("b")));
        let mut strict = waits(&balancer, only("a"));
        let any = waits(&balancer, Wish::Any);
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
        let mut held = slot(&balancer, Wish::Any);
        let wishes = [Wish::Any, only("a"), only("a"), Wish::Any, only("a")];
        let line: Vec<Asking> = wishes.into_iter().map(|wish| waits(&balancer, wish)).collect();
        for next in line {
            drop(held);
            held = next.await.unwrap();
        }
    }

    #[tokio::test]
    async fn who_wants_a_worker_that_is_gone_or_goes_hears_it() {
        let balancer = balancer(&[("a", 1), ("b", 1)]);
        let refused = |wish| match ask(&balancer, wish).1 {
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
        balancer.attach(&"a".into(), address(7), 1);
        assert_eq!(waiting.await.unwrap().address, address(7));

        balancer.expect(&"b".into());
        let waiting = waits(&balancer, only("b"));
        balancer.detach(&"b".into());
        assert_eq!(waiting.await.err(), Some(NoBackend::Gone));
    }

    #[tokio::test]
    async fn a_request_of_the_worker_before_it_takes_nothing_from_a_resumed_one() {
        let balancer = balancer(&[("a", 1)]);
        let old = slot(&balancer, Wish::Any);
        balancer.detach(&"a".into());
        balancer.attach(&"a".into(), address(2), 1);
        let new = slot(&balancer, Wish::Any);
        drop(old);
        let waiting = waits(&balancer, Wish::Any);
        drop(new);
        assert!(waiting.await.is_ok());
    }

    #[tokio::test]
    async fn more_than_ten_thousand_waiters_are_refused() {
        let balancer = balancer(&[]);
        let line: Vec<Asking> = (0..MAX_WAITING).map(|_| waits(&balancer, Wish::Any)).collect();
        let refused = balancer.acquire(&Wish::Any, Hold::of(HOLD), "r").await.err();
        assert_eq!(refused, Some(NoBackend::Full(MAX_WAITING)));
        drop(line);
        drop(waits(&balancer, Wish::Any));
    }
}
