//! Ended workers, and what requests to load-balanced workers need from the pool: resuming an ended worker, and
//! keeping connections that outlive their request.
use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::{Phase, Pool, Stop, WorkSource};
use crate::{logs::LogLine, worker_id::WorkerId};

/// Number of ended workers to remember, for late results, for requests that failed with them, and for resuming them.
const REMEMBERED: usize = 64;

/// Ended workers, the latest last.
#[derive(Default)]
pub(super) struct EndedWorkers(VecDeque<EndedWorker>);

/// The end of a worker.
struct EndedWorker {
    worker: WorkerId,
    /// Distinguishes its late results from other requests with a wrong key.
    key: String,
    reason: String,
    /// It was scaled down, so it may be resumed.
    wanted: bool,
}

/// The result of resuming a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// It is running or starting.
    Yes,
    /// It is unknown, or it died.
    Unknown,
    /// The maximum number of workers is running without it.
    NoRoom,
}

impl EndedWorkers {
    /// `wanted`: it was asked to stop and did not crash.
    pub(super) fn add(&mut self, worker: &WorkerId, key: &str, reason: &str, wanted: bool) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        let (key, reason) = (key.to_owned(), reason.to_owned());
        self.0.push_back(EndedWorker { worker: worker.clone(), key, reason, wanted });
    }

    fn of(&self, worker: &WorkerId) -> Option<&EndedWorker> {
        self.0.iter().rfind(|ended| ended.worker == *worker)
    }

    /// The key that it had.
    pub(super) fn key(&self, worker: &WorkerId) -> Option<&str> {
        self.of(worker).map(|ended| ended.key.as_str())
    }

    fn reason(&self, worker: &WorkerId) -> Option<String> {
        self.of(worker).map(|ended| ended.reason.clone())
    }

    fn was_wanted(&self, worker: &WorkerId) -> bool {
        self.of(worker).is_some_and(|ended| ended.wanted)
    }

    fn forget(&mut self, worker: &WorkerId) {
        self.0.retain(|ended| ended.worker != *worker);
    }
}

impl Pool {
    /// Resumes a worker that was scaled down, as a new process with its ID. Waits for a worker that is stopping.
    pub(crate) async fn resume(self: &Arc<Self>, id: &WorkerId) -> Resumed {
        loop {
            let changed = self.phases.notified();
            {
                let mut workers = self.lock();
                match workers.all.get(id).map(|worker| worker.phase) {
                    Some(Phase::Starting | Phase::Ready) => return Resumed::Yes,
                    Some(Phase::Stopping) => {}
                    None => {
                        if self.closed.is_cancelled() || !workers.ended.was_wanted(id) {
                            return Resumed::Unknown;
                        }
                        let active = workers.all.values().filter(|worker| worker.phase != Phase::Stopping);
                        if active.count() >= self.worker_type.workers_max as usize {
                            return Resumed::NoRoom;
                        }
                        workers.ended.forget(id);
                        self.start_as(id.clone(), workers);
                        return Resumed::Yes;
                    }
                }
            }
            changed.await;
        }
    }

    /// How a worker ended, if it has ended or ends within `limit`.
    pub(crate) async fn end_of(&self, id: &WorkerId, limit: Duration) -> Option<String> {
        let ended = async {
            loop {
                let changed = self.phases.notified();
                if let Some(reason) = self.lock().ended.reason(id) {
                    return reason;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, ended).await.ok()
    }

    /// A worker that was ready no longer listens: it ends by itself, or is broken and gets replaced.
    pub(crate) fn stopped_listening(&self, id: &WorkerId) {
        if let WorkSource::Balanced(balancer) = &self.source {
            balancer.drain(id);
        }
        self.stop(id, Stop::HungUp);
    }

    /// Runs what belongs to a connection of one of its workers, until it ends or the pool does.
    pub(crate) fn carry(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let (closed, closing) = (self.closed.clone(), self.closing.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = connection => {}
                () = closed.cancelled() => {}
                () = closing.cancelled() => {}
            }
        });
    }

    /// Logs a line of the platform about a request and its worker.
    pub(crate) fn say_of_request(&self, worker: Option<&WorkerId>, request_id: &str, text: String) {
        let mut line = LogLine::system(&self.worker_type.name, worker, text);
        line.request_id = Some(request_id.to_owned());
        (self.log)(line);
    }
}
