//! Reads jobs: one job, or many by filter.
use std::time::Duration;

use flash_protocol::wire::job::{JobObject, JobStatus};

use super::{
    endpoint_queue::Queue,
    id::JobId,
    job::Entry,
    jobs::is_listed,
    state::{JobState, Outcome},
    store::Failing,
    ticket::Ticket,
};

/// Jobs that one page looks at, at most: the lock is not held for longer.
const MAX_LOOKED_AT: usize = 20_000;

/// Which jobs to list. `None` matches all.
#[derive(Debug, Default, Clone)]
pub(crate) struct Filter {
    pub status: Option<JobStatus>,
    pub worker: Option<String>,
    pub request_id: Option<String>,
    pub function: Option<String>,
}

impl Filter {
    fn admits(&self, entry: &Entry) -> bool {
        let Self { status, worker, request_id, function } = self;
        let same = |wanted: &Option<String>, own: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| own == Some(wanted))
        };
        status.is_none_or(|status| entry.status() == status)
            && same(worker, entry.worker().map(AsRef::as_ref))
            && same(request_id, entry.envelope.request_id.as_deref())
            && same(function, entry.envelope.function.as_deref())
    }
}

/// Some jobs, the latest first.
#[derive(Debug)]
pub(crate) struct Page {
    pub jobs: Vec<JobObject>,
    /// Where to continue; `None` at the end.
    pub next: Option<JobId>,
    /// The latest change of any of them.
    ticket: Ticket,
}

impl Queue {
    /// Whether any job is here, ended ones included.
    pub(crate) fn has_jobs(&self) -> bool {
        self.lock().jobs.newest_first(None).next().is_some()
    }

    /// Whether the job is here.
    pub(crate) fn knows(&self, job: JobId) -> bool {
        self.lock().jobs.get(job).is_some()
    }

    /// The job as it is now in memory.
    pub(crate) fn peek(&self, job: JobId) -> Option<JobObject> {
        self.lock().object(job)
    }

    /// The job as clients see it. They only get states that a crash does not undo.
    ///
    /// # Errors
    /// If its last change cannot be stored now.
    pub(crate) async fn status(&self, job: JobId) -> Result<Option<JobObject>, Failing> {
        let found = |queue: &Self| {
            let inner = queue.lock();
            inner.jobs.get(job).and_then(|entry| Some((inner.object(job)?, entry.ticket)))
        };
        let Some((object, ticket)) = self.home_of(found) else { return Ok(None) };
        self.settings.store.committed(ticket).await.map(|()| Some(object))
    }

    /// Like [`Queue::status`], once the job has ended or `hold` has passed.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn final_status(
        &self,
        job: JobId,
        hold: Duration,
    ) -> Result<Option<JobObject>, Failing> {
        let until = tokio::time::Instant::now() + hold;
        loop {
            let open = |queue: &Self| {
                let mut inner = queue.lock();
                let entry = inner.jobs.get_mut(job)?;
                Some((!entry.status().is_final()).then(|| entry.arrivals()))
            };
            let Some(Some(arrived)) = self.home_of(open) else { break };
            let arrived = arrived.notified();
            // Made before the second look, so that an end in between is not missed.
            let is_final = |queue: &Self| queue.lock().jobs.get(job).map(|entry| entry.status().is_final());
            if self.home_of(is_final).unwrap_or(true)
                || tokio::time::timeout_at(until, arrived).await.is_err()
            {
                break;
            }
        }
        self.status(job).await
    }

    /// Waits until everything that has happened in this queue is durable.
    ///
    /// # Errors
    /// When it cannot be stored now.
    pub(crate) async fn all_stored(&self) -> Result<(), Failing> {
        self.settings.store.all_committed().await
    }

    /// Like [`Queue::page`], with states that a crash does not undo.
    ///
    /// # Errors
    /// When one of them cannot be stored now.
    pub(crate) async fn stored_page(
        &self,
        filter: &Filter,
        before: Option<JobId>,
        limit: usize,
    ) -> Result<Page, Failing> {
        let page = self.page(filter, before, limit);
        self.settings.store.committed(page.ticket).await.map(|()| page)
    }

    /// Up to `limit` jobs before `before`, latest first, without jobs created by calls of workers.
    pub(super) fn page(&self, filter: &Filter, before: Option<JobId>, limit: usize) -> Page {
        let inner = self.lock();
        let mut page = Page { jobs: Vec::new(), next: None, ticket: Ticket::default() };
        for (looked_at, (id, entry)) in inner.jobs.newest_first(before).enumerate() {
            if page.jobs.len() >= limit || looked_at >= MAX_LOOKED_AT {
                return page;
            }
            page.next = Some(id);
            if is_listed(entry) && filter.admits(entry) {
                page.ticket = page.ticket.max(entry.ticket);
                page.jobs.push(inner.with_so_far(id, entry, entry.object_without_output(id)));
            }
        }
        page.next = None;
        page
    }

    /// Jobs that killed their workers, the latest first, up to `limit`.
    pub(crate) fn dead(&self, limit: usize) -> Vec<JobId> {
        self.lock().jobs.dead().take(limit).collect()
    }

    /// Like [`Queue::dead`], as clients see them, once a crash cannot undo their state.
    ///
    /// # Errors
    /// When that cannot be stored now.
    pub(crate) async fn stored_dead(&self, limit: usize) -> Result<Vec<JobObject>, Failing> {
        let (dead, ticket) = {
            let inner = self.lock();
            let entries = inner.jobs.dead().take(limit).filter_map(|id| Some((id, inner.jobs.get(id)?)));
            let object = |(id, entry): (JobId, &Entry)| (entry.object_without_output(id), entry.ticket);
            let (dead, tickets): (Vec<_>, Vec<_>) = entries.map(object).unzip();
            (dead, tickets.into_iter().max().unwrap_or_default())
        };
        self.settings.store.committed(ticket).await.map(|()| dead)
    }

    /// Whether a job is one that killed its workers.
    pub(crate) fn is_dead(&self, job: JobId) -> bool {
        let inner = self.lock();
        let state = inner.jobs.get(job).map(|entry| &entry.state);
        matches!(state, Some(JobState::Done(Outcome::Dead(_))))
    }
}
