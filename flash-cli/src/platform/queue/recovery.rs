//! What goes from one queue to the next: from a platform that died, or from a release that was replaced.
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use flash_sdk::{ErrorKind, WireError, wire::job::ErrorText};
use tokio::sync::Notify;

use super::{
    Budget, Clock, Durability, Fate, JobId, Limits, OnEnd, OpenError, Queue, Store, Teller,
    jobs::{Setting, tell_webhook},
    state::JobEvent,
    store::{Change, Stored},
};

/// What all queues of a platform share.
#[derive(Clone)]
pub(crate) struct QueueContext {
    pub clock: Clock,
    pub store: Store,
    pub teller: Teller,
    /// What their jobs may hold together.
    pub budget: Budget,
}

/// Jobs from the store that no queue has claimed yet, by endpoint.
#[derive(Default)]
pub(crate) struct Backlog {
    jobs: HashMap<Arc<str>, Vec<Stored>>,
}

/// Which jobs of an endpoint a queue takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Those that its release accepted.
    Own,
    /// Those, and those of which nobody knows which release accepted them.
    OwnAndUnknown,
    /// All. Open ones are its own from then on.
    All,
}

impl Claim {
    fn covers(self, release: u64, own: u64) -> bool {
        match self {
            Self::Own => release == own,
            Self::OwnAndUnknown => release == own || release == 0,
            Self::All => true,
        }
    }
}

impl Backlog {
    /// Opens a store, and takes out what an earlier platform left in it.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub(crate) fn open(directory: &Path, durability: Durability) -> Result<(Store, Self), OpenError> {
        let mut backlog = Self::default();
        let store = Store::open(directory, durability, |stored| {
            backlog.jobs.entry(stored.endpoint.clone()).or_default().push(stored);
        })?;
        Ok((store, backlog))
    }

    /// Counts what its jobs hold, also while no queue has claimed them.
    pub(crate) fn join(&mut self, budget: &Budget) {
        for Stored { entry, .. } in self.jobs.values_mut().flatten() {
            entry.join(budget);
        }
    }

    /// Deletes jobs whose time is over though no queue looks after them.
    pub(crate) fn delete_due(&mut self, context: &QueueContext) {
        let now = context.clock.now();
        for jobs in self.jobs.values_mut() {
            jobs.retain(|Stored { entry, .. }| {
                let is_due = entry.timer <= now;
                if is_due && let Some(seq) = entry.record {
                    context.store.write(Change::Forgotten { seq });
                }
                !is_due
            });
        }
        self.jobs.retain(|_, jobs| !jobs.is_empty());
    }

    /// Jobs of one endpoint, oldest first.
    fn claim(&mut self, endpoint: &str, own: u64, claim: Claim) -> Vec<Stored> {
        let Some(jobs) = self.jobs.remove(endpoint) else { return Vec::new() };
        let (claimed, rest): (Vec<_>, Vec<_>) =
            jobs.into_iter().partition(|job| claim.covers(job.release, own));
        if !rest.is_empty() {
            self.jobs.insert(endpoint.into(), rest);
        }
        claimed
    }

    /// The releases that accepted jobs which have not ended and no queue has claimed.
    pub(crate) fn releases(&self) -> BTreeSet<u64> {
        let open = self.jobs.values().flatten().filter(|job| !job.entry.status().is_final());
        open.map(|job| job.release).filter(|release| *release != 0).collect()
    }

    /// Endpoints with jobs that no queue has claimed, and how many of them have not ended.
    pub(crate) fn unclaimed(&self) -> impl Iterator<Item = (&str, usize)> {
        let open = |jobs: &[Stored]| jobs.iter().filter(|job| !job.entry.status().is_final()).count();
        self.jobs.iter().map(move |(endpoint, jobs)| (&**endpoint, open(jobs)))
    }
}

impl Queue {
    /// A queue without jobs.
    pub(crate) fn new(
        endpoint: &str,
        release: u64,
        limits: Limits,
        context: &QueueContext,
        on_end: OnEnd,
    ) -> Self {
        let QueueContext { clock, store, teller, budget } = context.clone();
        Self {
            setting: Setting { endpoint: endpoint.into(), release, limits, clock, store, teller, budget },
            inner: std::sync::Mutex::default(),
            changed: Notify::new(),
            on_end,
        }
    }

    /// Takes in jobs that an earlier platform left to this endpoint.
    pub(crate) fn adopt(&self, backlog: &mut Backlog, claim: Claim) {
        let own = self.setting.release;
        let mut inner = self.lock();
        for Stored { release, id, mut entry, .. } in backlog.claim(&self.setting.endpoint, own, claim) {
            if release != own
                && !entry.status().is_final()
                && let Some(seq) = entry.record
            {
                self.setting.store.write(Change::Moved { seq, release: own });
            }
            if entry.status().is_final() && !entry.told {
                // Whoever waits for this one may not have heard; twice is allowed, never is not.
                tell_webhook(id, &entry, &self.setting);
            }
            entry.drop_input();
            entry.join(&self.setting.budget);
            inner.jobs.insert(id, entry);
        }
        // Their time may have come while there was no platform.
        let ended = inner.delete_due(self.setting.clock.now(), &self.setting);
        inner.dispatch(&self.setting);
        drop(inner);
        self.tell(ended);
        self.changed.notify_one();
    }

    /// Moves everything that does not run to the queue of the release that replaced this one; what comes late
    /// follows.
    pub(crate) fn hand_over(&self, successor: &Arc<Self>) {
        // Both locks, always from the older to the newer: nobody finds a job in neither.
        let mut own = self.lock();
        let mut others = successor.lock();
        let waiting = own.jobs.waiting_ids();
        let ended: Vec<JobId> = own
            .jobs
            .newest_first(None)
            .filter(|(_, entry)| entry.status().is_final())
            .map(|(id, _)| id)
            .collect();
        for id in waiting.into_iter().chain(ended) {
            if let Some(entry) = own.jobs.take(id) {
                others.jobs.insert(id, entry);
            }
        }
        own.fate = Fate::ReplacedBy(successor.clone());
        others.dispatch(&successor.setting);
        drop((own, others));
        successor.changed.notify_one();
    }

    /// Ends what still waits, and refuses what comes late: nothing will ever run it.
    pub(crate) fn give_up_waiting(&self) {
        let message = format!("the app no longer has a worker type `{}`", self.setting.endpoint);
        let text = ErrorText::of(&WireError::new(ErrorKind::NoWorker, message), "platform").to_text();
        let mut inner = self.lock();
        inner.fate = Fate::Ended;
        let waiting = inner.jobs.waiting_ids();
        let given_up = || JobEvent::GivenUp(text.clone());
        let ended: Vec<_> =
            waiting.into_iter().filter_map(|id| inner.jobs.end(id, given_up(), &self.setting)).collect();
        drop(inner);
        self.tell(ended);
    }
}
