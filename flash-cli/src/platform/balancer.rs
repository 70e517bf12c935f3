//! Requests of one load-balanced worker type: which worker gets the next, and who waits for one.
//!
//! Knows workers as addresses with a number of requests. Carrying bytes is the gateway's work.
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::queue::{Load, WorkerId};

/// Requests that may wait for a worker; more are refused.
const MAX_WAITING: usize = 10_000;

/// No worker was to be had.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoBackend {
    /// Too many wait already.
    #[error("{0} requests wait for a worker already")]
    Full(usize),
    /// None became ready in time.
    #[error("no worker became ready within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// None starts.
    #[error("no worker starts: {0}")]
    Broken(String),
}

/// The workers of one load-balanced worker type in one release. Cheap to share.
#[derive(Default)]
pub(crate) struct Balancer {
    inner: Mutex<Inner>,
    /// A worker or a slot came free.
    available: Notify,
    /// Load arrived: the autoscaler looks sooner.
    changed: Notify,
}

#[derive(Default)]
struct Inner {
    backends: HashMap<WorkerId, Backend>,
    waiting: HashMap<u64, Instant>,
    next_waiting: u64,
    broken: Option<String>,
}

struct Backend {
    address: SocketAddr,
    slots: usize,
    /// Ids of the requests that it serves.
    requests: Vec<Arc<str>>,
    idle_since: Instant,
    draining: bool,
}

/// A slot on a worker; given back on drop.
pub(crate) struct Slot {
    balancer: Arc<Balancer>,
    pub worker: WorkerId,
    pub address: SocketAddr,
    request_id: Arc<str>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut inner = self.balancer.lock();
        if let Some(backend) = inner.backends.get_mut(&self.worker) {
            if let Some(index) = backend.requests.iter().position(|id| *id == self.request_id) {
                backend.requests.swap_remove(index);
            }
            backend.idle_since = Instant::now();
        }
        let wake = !inner.waiting.is_empty();
        drop(inner);
        if wake {
            self.balancer.available.notify_one();
        }
    }
}

/// Someone waits; leaves the count on drop, also when the client goes away.
struct Waiting<'a> {
    balancer: &'a Balancer,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.balancer.lock().waiting.remove(&self.number);
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

    /// A worker is ready for requests.
    pub(crate) fn attach(&self, worker: &WorkerId, address: SocketAddr, slots: u32) {
        let backend = Backend {
            address,
            slots: slots.max(1) as usize,
            requests: Vec::new(),
            idle_since: Instant::now(),
            draining: false,
        };
        let mut inner = self.lock();
        inner.broken = None;
        inner.backends.insert(worker.clone(), backend);
        drop(inner);
        self.available.notify_waiters();
    }

    /// A worker gets no more requests. Those it has it may finish.
    pub(crate) fn drain(&self, worker: &WorkerId) {
        if let Some(backend) = self.lock().backends.get_mut(worker) {
            backend.draining = true;
        }
    }

    /// As [`Balancer::drain`], only if it has none.
    pub(crate) fn drain_if_idle(&self, worker: &WorkerId) -> bool {
        let mut inner = self.lock();
        let backend = inner.backends.get_mut(worker).filter(|backend| backend.requests.is_empty());
        backend.map(|backend| backend.draining = true).is_some()
    }

    /// A worker is gone.
    pub(crate) fn detach(&self, worker: &WorkerId) {
        self.lock().backends.remove(worker);
        self.changed.notify_one();
    }

    /// No worker starts: those who wait are told why.
    pub(crate) fn fail_waiting(&self, reason: &str) {
        self.lock().broken = Some(reason.to_owned());
        self.available.notify_waiters();
    }

    /// A slot on the least loaded worker; waits for one up to `hold`.
    ///
    /// # Errors
    /// Why none was to be had.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        hold: Duration,
        request_id: &str,
    ) -> Result<Slot, NoBackend> {
        if let Some(slot) = self.try_acquire(request_id) {
            return Ok(slot);
        }
        let waiting = self.enqueue()?;
        self.changed.notify_one();
        let until = tokio::time::Instant::now() + hold;
        loop {
            // Registered before the look, so that a slot given back in between is not missed.
            let available = self.available.notified();
            if let Some(slot) = self.try_acquire(request_id) {
                drop(waiting);
                return Ok(slot);
            }
            if let Some(reason) = self.lock().broken.clone() {
                return Err(NoBackend::Broken(reason));
            }
            if tokio::time::timeout_at(until, available).await.is_err() {
                return Err(NoBackend::TimedOut(hold));
            }
        }
    }

    fn enqueue(&self) -> Result<Waiting<'_>, NoBackend> {
        let mut inner = self.lock();
        if inner.waiting.len() >= MAX_WAITING {
            return Err(NoBackend::Full(inner.waiting.len()));
        }
        // A new request is a new reason to try: what broke before may have been mended.
        inner.broken = None;
        let number = inner.next_waiting;
        inner.next_waiting += 1;
        inner.waiting.insert(number, Instant::now());
        Ok(Waiting { balancer: self, number })
    }

    fn try_acquire(self: &Arc<Self>, request_id: &str) -> Option<Slot> {
        let mut inner = self.lock();
        let (worker, backend) = inner
            .backends
            .iter_mut()
            .filter(|(_, backend)| !backend.draining && backend.requests.len() < backend.slots)
            .min_by_key(|(_, backend)| backend.requests.len())?;
        let request_id: Arc<str> = request_id.into();
        backend.requests.push(request_id.clone());
        Some(Slot { balancer: self.clone(), worker: worker.clone(), address: backend.address, request_id })
    }

    /// How busy it is.
    pub(crate) fn load(&self, now: Instant) -> Load {
        let inner = self.lock();
        let oldest = inner.waiting.values().min();
        Load {
            waiting: inner.waiting.len(),
            low_priority: 0,
            low_priority_running: 0,
            oldest_wait: oldest.map_or(Duration::ZERO, |since| now.saturating_duration_since(*since)),
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
            [only] => Some(only.to_string()),
            _ => None,
        }
    }

    /// Whether no request waits or runs.
    pub(crate) fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.waiting.is_empty() && inner.backends.values().all(|backend| backend.requests.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    #[tokio::test]
    async fn the_least_loaded_worker_is_chosen_and_a_full_one_never() {
        let balancer = Arc::new(Balancer::default());
        balancer.attach(&"a".into(), address(1), 1);
        balancer.attach(&"b".into(), address(2), 2);
        let slots = [(); 3].map(|()| balancer.try_acquire("r").unwrap());
        let on_b = slots.iter().filter(|slot| &*slot.worker == "b").count();
        assert_eq!(on_b, 2);
        assert!(balancer.try_acquire("r").is_none());
        let [first, ..] = slots;
        drop(first);
        assert!(balancer.try_acquire("r").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_a_worker_and_gives_up_in_time() {
        let balancer = Arc::new(Balancer::default());
        let refused = balancer.acquire(Duration::from_secs(120), "r").await.err();
        assert_eq!(refused, Some(NoBackend::TimedOut(Duration::from_secs(120))));
        assert!(balancer.is_idle(), "nobody waits any more");

        let waiting = tokio::spawn({
            let balancer = balancer.clone();
            async move { balancer.acquire(Duration::from_secs(120), "r").await.map(|slot| slot.address) }
        });
        balancer.changed().await;
        balancer.attach(&"a".into(), address(1), 1);
        assert_eq!(waiting.await.unwrap(), Ok(address(1)));
    }

    #[tokio::test]
    async fn who_waits_hears_that_no_worker_starts() {
        let balancer = Arc::new(Balancer::default());
        let (waited, ()) = tokio::join!(balancer.acquire(Duration::from_secs(60), "r"), async {
            balancer.changed().await;
            balancer.fail_waiting("exit code 1");
        });
        assert_eq!(waited.err(), Some(NoBackend::Broken("exit code 1".into())));
    }
}
