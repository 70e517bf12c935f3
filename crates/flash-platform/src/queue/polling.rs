//! Long polls of workers, for jobs and for jobs to stop.
//!
//! A poll may end at the moment when a job arrives for it. The job is then still answered or returned to the queue:
//! it must not count as running on a worker that never received it.
use std::time::Duration;

use tokio::sync::oneshot;

use super::{consumer::LeasedJob, endpoint_queue::Queue, id::JobId};
use crate::worker_id::WorkerId;

impl Queue {
    /// Long poll of a worker with Runpod's protocol: up to `wanted` jobs, or none when the hold time is over.
    pub(crate) async fn take(&self, worker: &WorkerId, wanted: u32, hold: Duration) -> Vec<LeasedJob> {
        let (poll, taken) = oneshot::channel();
        // From here on, a poll that ends in any way returns what was leased to it at that moment.
        let mut poll_end = PollEnd { queue: self, worker, taken };
        {
            let mut inner = self.lock();
            let Some(consumer) = inner.consumers.get_mut(worker) else { return Vec::new() };
            let freed = consumer.freed_by_poll(wanted);
            let polls = consumer.poll(wanted, poll);
            inner.settle_all(freed, &self.settings);
            if !polls {
                return Vec::new();
            }
            if !inner.free.contains(worker) {
                inner.free.push(worker.clone());
            }
            inner.dispatch(&self.settings);
        }
        match tokio::time::timeout(hold, &mut poll_end.taken).await {
            Ok(taken) => taken.unwrap_or_default(),
            Err(_) => poll_end.last_moment(),
        }
    }

    /// Takes back jobs whose worker never saw them.
    fn give_back(&self, worker: &WorkerId, jobs: Vec<LeasedJob>) {
        let mut inner = self.lock();
        for job in jobs.into_iter().rev() {
            inner.release(worker, job.id, Some(job.attempt), &self.settings);
            inner.jobs.unlease(job.id);
        }
        inner.dispatch(&self.settings);
        drop(inner);
        self.changed.notify_one();
    }

    /// Long poll for jobs to stop.
    pub(crate) async fn stops(&self, worker: &WorkerId, hold: Duration) -> Vec<JobId> {
        let (poll, mut stopped) = oneshot::channel();
        match self.lock().consumers.get_mut(worker) {
            Some(consumer) => consumer.poll_stops(poll),
            None => return Vec::new(),
        }
        match tokio::time::timeout(hold, &mut stopped).await {
            Ok(stopped) => stopped.unwrap_or_default(),
            Err(_) => {
                stopped.close();
                stopped.try_recv().unwrap_or_default()
            }
        }
    }
}

/// The waiting end of a poll for jobs.
struct PollEnd<'a> {
    queue: &'a Queue,
    worker: &'a WorkerId,
    taken: oneshot::Receiver<Vec<LeasedJob>>,
}

impl PollEnd<'_> {
    /// Jobs that arrived meanwhile; no more arrive after this.
    fn last_moment(&mut self) -> Vec<LeasedJob> {
        self.taken.close();
        self.taken.try_recv().unwrap_or_default()
    }
}

impl Drop for PollEnd<'_> {
    fn drop(&mut self) {
        let jobs = self.last_moment();
        if !jobs.is_empty() {
            self.queue.give_back(self.worker, jobs);
        }
    }
}
