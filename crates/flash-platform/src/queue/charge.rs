//! Stops and releases attempts, and charges their cost to their jobs.
//!
//! An attempt costs until its worker releases it. So the cost of a stopped job can still grow after its end.
use std::borrow::Cow;

use flash_protocol::{catalogue::NanoDollars, wire::job::JobObject};

use super::{
    ChangeError, Inner, JobId, WorkerId,
    job::Entry,
    jobs::{Jobs, QueueSettings},
    state::{JobState, Lease},
    store::Change,
};
use crate::meter::{ChargedTo, CostShare};

impl Entry {
    /// Who is charged its shares: its request, or else itself.
    pub(super) fn charged_to(&self, id: JobId) -> ChargedTo<'_> {
        ChargedTo {
            request_id: match &self.envelope.request_id {
                Some(request) => Cow::Borrowed(request),
                None => Cow::Owned(id.to_string()),
            },
            function: self.envelope.function.as_deref(),
        }
    }

    pub(super) fn add_cost(&mut self, share: NanoDollars) {
        self.cost.0 = self.cost.0.saturating_add(share.0);
    }
}

impl Jobs {
    /// Adds to a job's cost. A job that continues is stored with its next change.
    pub(super) fn charge(&mut self, id: JobId, share: NanoDollars, settings: &QueueSettings) {
        let Some(entry) = self.get_mut(id).filter(|_| share.0 > 0) else { return };
        entry.add_cost(share);
        if entry.status().is_final()
            && let Some(seq) = entry.record
        {
            entry.ticket = settings.store.write(Change::Charged { seq, cost: entry.cost });
        }
    }
}

impl Inner {
    /// Asks the worker of a running job to stop it.
    pub(super) fn stop_attempt(&mut self, job: JobId, settings: &QueueSettings) -> Result<(), ChangeError> {
        let entry = self.jobs.get(job).ok_or(ChangeError::Unknown)?;
        match &entry.state {
            JobState::Done(_) => return Err(ChangeError::Ended),
            JobState::Queued { .. } => {}
            JobState::Running(lease) => {
                let Lease { worker, attempt } = lease;
                if let Some(consumer) = self.consumers.get_mut(worker) {
                    let share = consumer.stop(job, *attempt, &entry.charged_to(job));
                    self.charge(job, share, settings);
                }
            }
        }
        Ok(())
    }

    /// A worker no longer works on an attempt, or on any attempt of the job if it does not say which. `true` if it
    /// had it.
    pub(super) fn release(
        &mut self,
        worker: &WorkerId,
        job: JobId,
        attempt: Option<u32>,
        settings: &QueueSettings,
    ) -> bool {
        let Some(consumer) = self.consumers.get_mut(worker) else { return false };
        let charged_to = self.jobs.get(job).map(|entry| entry.charged_to(job));
        let Some(share) = consumer.release(job, attempt, charged_to.as_ref()) else { return false };
        if consumer.has_free_slot() && !self.free.contains(worker) {
            self.free.push(worker.clone());
        }
        self.charge(job, share, settings);
        true
    }

    /// Adds to a job's cost, also if the queue of the next release has the job now.
    fn charge(&mut self, id: JobId, share: NanoDollars, settings: &QueueSettings) {
        match self.successor() {
            // Locks are taken from the older queue to the newer, as at the hand-over.
            Some(successor) if self.jobs.get(id).is_none() => {
                successor.lock().charge(id, share, &successor.settings);
            }
            _ => self.jobs.charge(id, share, settings),
        }
    }

    /// An attempt is over.
    pub(super) fn settle(&mut self, id: JobId, mut cost_share: CostShare, settings: &QueueSettings) {
        let charged_to = self.jobs.get(id).map(|entry| entry.charged_to(id));
        let share = cost_share.end(charged_to.as_ref());
        self.charge(id, share, settings);
    }

    /// Like [`Inner::settle`], for several.
    pub(super) fn settle_all(&mut self, cost_shares: Vec<(JobId, CostShare)>, settings: &QueueSettings) {
        for (id, cost_share) in cost_shares {
            self.settle(id, cost_share, settings);
        }
    }

    /// The job as clients see it, including the current cost of its attempt.
    pub(super) fn object(&self, id: JobId) -> Option<JobObject> {
        let entry = self.jobs.get(id)?;
        Some(self.with_so_far(id, entry, entry.object(id)))
    }

    /// Adds the current cost of a running attempt.
    pub(super) fn with_so_far(&self, id: JobId, entry: &Entry, mut object: JobObject) -> JobObject {
        if let JobState::Running(Lease { worker, attempt }) = &entry.state
            && let Some(cost) = &mut object.cost_nano_dollars
            && let Some(so_far) =
                self.consumers.get(worker).and_then(|consumer| consumer.so_far(id, *attempt))
        {
            *cost = cost.saturating_add(so_far.0);
        }
        object
    }
}
