//! Resumes workers that were scaled down, for requests that only they can serve.
use std::sync::Arc;

use super::{worker::Phase, worker_life::start_as, worker_pool::Pool};
use crate::worker_id::WorkerId;

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

/// Resumes a worker that was scaled down, as a new process with its ID. Waits for a worker that is stopping.
pub(crate) async fn resume(pool: &Arc<Pool>, id: &WorkerId) -> Resumed {
    loop {
        let changed = pool.phases.notified();
        let (_, most) = pool.limits();
        {
            let mut workers = pool.lock();
            match workers.phase(id) {
                Some(Phase::Starting | Phase::Ready) => return Resumed::Yes,
                Some(Phase::Stopping) => {}
                None => {
                    if pool.closed.is_cancelled() || !workers.ended.was_wanted(id) {
                        return Resumed::Unknown;
                    }
                    if workers.active() >= most as usize {
                        return Resumed::NoRoom;
                    }
                    workers.ended.forget(id);
                    start_as(pool, id.clone(), workers);
                    return Resumed::Yes;
                }
            }
        }
        changed.await;
    }
}
