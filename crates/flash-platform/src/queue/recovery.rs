//! Moves jobs from one queue to the next: from a platform that died, or from a replaced release.
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use flash_protocol::{ErrorKind, WireError, wire::job::ErrorText};
use tokio::sync::Notify;

use super::{
    Budget, Clock, Durability, Ended, JobId, Limits, OnEnd, OpenError, Queue, QueueState, Store, Timestamp,
    WebhookOutbox,
    guard::{Guarded, platform_died},
    job::Entry,
    jobs::{QueueSettings, notify_webhook},
    state::JobEvent,
    store::{Change, Opened, SetAside, Stored},
};

/// What all queues of a platform share.
#[derive(Clone)]
pub(crate) struct QueueContext {
    pub clock: Clock,
    pub store: Store,
    pub outbox: WebhookOutbox,
    /// What their jobs may hold together.
    pub budget: Budget,
}

impl QueueContext {
    /// Stores the current time, from which the next platform continues.
    pub(crate) fn keep_time(&self) {
        self.store.write(Change::Time(self.clock.mark()));
    }

    /// The end of the platform by itself: blocks until all is written.
    pub(crate) fn close(&self) {
        self.keep_time();
        self.store.close();
    }
}

/// Jobs from the store that no queue has claimed yet, by endpoint.
#[derive(Default)]
pub(crate) struct Backlog {
    jobs: HashMap<Arc<str>, Vec<Stored>>,
    /// No job's time is over before.
    next_due: Timestamp,
}

/// Which jobs of an endpoint a queue takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Those that its release accepted.
    Own,
    /// Those, and jobs whose release is not known.
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
    /// Opens a store and loads what an earlier platform left in it. Returns its time and the jobs that could not be
    /// read.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) fn open(
        directory: &Path,
        durability: Durability,
    ) -> Result<(Store, Self, Clock, SetAside), OpenError> {
        let mut backlog = Self::default();
        let Opened { store, clock, set_aside } = Store::open(directory, durability, |stored| {
            backlog.jobs.entry(stored.endpoint.clone()).or_default().push(stored);
        })?;
        Ok((store, backlog, clock, set_aside))
    }

    /// Counts what its jobs hold, also while no queue has claimed them.
    pub(crate) fn join(&mut self, budget: &Budget) {
        for Stored { entry, .. } in self.jobs.values_mut().flatten() {
            entry.join(budget);
        }
    }

    /// Deletes expired jobs that belong to no queue.
    pub(crate) fn delete_due(&mut self, context: &QueueContext) {
        let now = context.clock.now();
        if now < self.next_due {
            // A million may wait here for their release: they are not looked through at each call.
            return;
        }
        for jobs in self.jobs.values_mut() {
            jobs.retain(|Stored { endpoint, id, entry, .. }| {
                let is_due = entry.timer <= now;
                if is_due && let Some(seq) = entry.record {
                    context.store.write(Change::Forgotten { seq });
                }
                if is_due && let Some(key) = entry.key() {
                    context.store.keys(endpoint).lock().forget(key, *id);
                }
                !is_due
            });
        }
        self.jobs.retain(|_, jobs| !jobs.is_empty());
        let timers = self.jobs.values().flatten().map(|job| job.entry.timer);
        self.next_due = timers.min().unwrap_or(Timestamp(u64::MAX));
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
        let QueueContext { clock, store, outbox, budget } = context.clone();
        let endpoint = endpoint.into();
        let keys = store.keys(&endpoint);
        Self {
            settings: QueueSettings { endpoint, release, limits, clock, store, keys, outbox, budget },
            inner: parking_lot::Mutex::default(),
            changed: Notify::new(),
            on_end,
        }
    }

    /// Takes in jobs that an earlier platform left to this endpoint.
    pub(crate) fn adopt(&self, backlog: &mut Backlog, claim: Claim) {
        let own = self.settings.release;
        let mut inner = self.lock();
        let mut open = Vec::new();
        for Stored { release, id, mut entry, .. } in backlog.claim(&self.settings.endpoint, own, claim) {
            if release != own
                && !entry.status().is_final()
                && let Some(seq) = entry.record
            {
                self.settings.store.write(Change::Moved { seq, release: own });
            }
            if entry.status().is_final() && !entry.delivered {
                // A client that waits for this job may not have been notified; notifying it twice is allowed, never is
                // not.
                notify_webhook(id, &entry, &self.settings);
            }
            entry.drop_input();
            entry.join(&self.settings.budget);
            if entry.is_queued() {
                open.push(id);
            }
            inner.jobs.insert(id, entry);
        }
        // Their time may have come while there was no platform.
        let mut ended = inner.delete_due(self.settings.clock.now(), usize::MAX, &self.settings);
        for (id, losses) in inner.jobs.deadly(open.into_iter()) {
            ended.extend(inner.jobs.end(id, platform_died(losses), &self.settings));
        }
        inner.dispatch(&self.settings);
        drop(inner);
        self.report_ends(ended);
        self.changed.notify_one();
    }

    /// Moves everything that does not run to the queue of the release that replaced this one; late jobs follow. It
    /// works in small steps: each job is in one of the two at any time, and requests do not wait for the whole move.
    pub(crate) async fn hand_over(&self, successor: &Arc<Self>) {
        let last = {
            let mut own = self.lock();
            own.state = QueueState::ReplacedBy(successor.clone());
            // This queue is not fed any more; the next one handles them.
            own.jobs.guarded = Guarded::default();
            own.jobs.last()
        };
        let mut after = None;
        while let Some(last) = last {
            after = self.hand_over_piece(successor, after, last);
            if after.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        successor.changed.notify_one();
    }

    /// Moves some of the jobs up to `last`, and returns where to continue.
    fn hand_over_piece(&self, successor: &Arc<Self>, after: Option<JobId>, last: JobId) -> Option<JobId> {
        // Takes both locks, always the older first, so that a job is always in one of the two.
        let mut own = self.lock();
        let mut others = successor.lock();
        let (ids, next) = own.jobs.piece(after, last, |entry| !entry.is_running());
        for id in ids {
            if let Some(entry) = own.jobs.take(id) {
                others.jobs.insert(id, entry);
            }
        }
        others.dispatch(&successor.settings);
        next
    }

    /// Ends waiting jobs and refuses late ones, because nothing will ever run them.
    pub(crate) async fn give_up_waiting(&self) {
        let message = format!("the app no longer has a worker type `{}`", self.settings.endpoint);
        let text = ErrorText::of(&WireError::new(ErrorKind::NoWorker, message), "platform").to_text();
        self.lock().state = QueueState::Ended;
        self.end_waiting(|| JobEvent::GivenUp(text.clone())).await;
    }

    /// Ends the jobs that wait at this moment, in pieces; how many they were.
    pub(super) async fn end_waiting(&self, event: impl Fn() -> JobEvent) -> usize {
        let Some(last) = self.lock().jobs.last() else { return 0 };
        let (mut after, mut count) = (None, 0);
        loop {
            let (ended, next) = self.end_waiting_piece(&event, after, last);
            count += ended.len();
            self.report_ends(ended);
            after = match next {
                Some(next) => Some(next),
                None => return count,
            };
            tokio::task::yield_now().await;
        }
    }

    fn end_waiting_piece(
        &self,
        event: &impl Fn() -> JobEvent,
        after: Option<JobId>,
        last: JobId,
    ) -> (Vec<Ended>, Option<JobId>) {
        let mut inner = self.lock();
        let (ids, next) = inner.jobs.piece(after, last, Entry::is_queued);
        let ended = ids.into_iter().filter_map(|id| inner.jobs.end(id, event(), &self.settings)).collect();
        (ended, next)
    }
}

impl Drop for Queue {
    /// Nobody can ask for its jobs any more, so their keys may be used for others.
    fn drop(&mut self) {
        let inner = self.inner.get_mut();
        let mut keys = self.settings.keys.lock();
        for (id, entry) in inner.jobs.newest_first(None) {
            if let Some(key) = entry.key() {
                keys.forget(key, id);
            }
        }
    }
}
