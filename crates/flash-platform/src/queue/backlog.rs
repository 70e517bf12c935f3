//! Jobs that an earlier platform left in the store, until a queue claims them.
use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
};

use super::{
    budget::Budget,
    clock::{Clock, Timestamp},
    settings::QueueContext,
    store::{Change, Durability, OpenError, Opened, SetAside, Store, StoredSchedule},
    stored_job::Stored,
};

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
    /// Opens a store and loads what an earlier platform left in it. Returns its time, the jobs that could not be read
    /// and the states of its schedules.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub(crate) fn open(
        directory: &Path,
        durability: Durability,
    ) -> Result<(Store, Self, Clock, SetAside, Vec<StoredSchedule>), OpenError> {
        let mut backlog = Self::default();
        let Opened { store, clock, set_aside, schedules } = Store::open(directory, durability, |found| {
            let stored = Stored::from(found);
            backlog.jobs.entry(stored.endpoint.clone()).or_default().push(stored);
        })?;
        Ok((store, backlog, clock, set_aside, schedules))
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
    pub(super) fn claim(&mut self, endpoint: &str, own: u64, claim: Claim) -> Vec<Stored> {
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
