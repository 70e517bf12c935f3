//! The requests that a load-balanced worker serves, by their slot on the platform.
//!
//! A request has ended when its answer has ended and no thread of it runs. A synchronous function cannot be
//! interrupted, so its slot may stay taken after the client has disconnected or received a timeout.
use std::{collections::HashMap, sync::Arc};

use flash_protocol::wire::exchange::SLOT_HEADER;
use http::HeaderMap;
use parking_lot::{Mutex, MutexGuard};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use super::{
    output_marks::{self, Begun},
    reports::reports,
};
use crate::context::Context;

/// The running requests. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<HashMap<u64, TaskTracker>>>);

/// A running request. It ends on drop, except for its threads.
pub(super) struct Running {
    requests: Requests,
    /// `None` if the platform sent none.
    slot: Option<u64>,
    /// Tracks the request and its threads.
    work: TaskTracker,
    context: Context,
    _itself: TaskTrackerToken,
    _printing: Begun,
}

impl Requests {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, TaskTracker>> {
        self.0.lock()
    }

    /// A request begins.
    pub(super) fn begin(&self, headers: &HeaderMap, context: &Context) -> Running {
        let slot = headers.get(SLOT_HEADER).and_then(|slot| slot.to_str().ok()?.parse().ok());
        let work = context.blocking().clone();
        if let Some(slot) = slot {
            self.lock().insert(slot, work.clone());
        }
        Running {
            requests: self.clone(),
            slot,
            context: context.clone(),
            _itself: work.token(),
            _printing: output_marks::begin(context.request_id(), None),
            work,
        }
    }

    /// Completes when nothing of the request in this slot runs; at once if it has ended or is unknown.
    pub(super) fn over(&self, slot: u64) -> impl Future<Output = ()> + Send + use<> {
        let (work, requests) = (self.lock().get(&slot).cloned(), self.clone());
        async move {
            if let Some(work) = work {
                work.close();
                work.wait().await;
                requests.lock().remove(&slot);
            }
        }
    }
}

impl Running {
    /// Whether a thread of it still runs, so that its slot is not free.
    pub(super) fn holds_its_slot(&self) -> bool {
        self.slot.is_some() && self.work.len() > 1
    }

    /// Ends the request and waits for its threads.
    pub(super) async fn ended(self) {
        let work = self.work.clone();
        drop(self);
        work.close();
        work.wait().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        reports().request_ended(self.slot, &self.context);
        // While threads run, the request stays known, because the platform asks for their end.
        if let Some(slot) = self.slot.filter(|_| self.work.len() <= 1) {
            self.requests.lock().remove(&slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::*;
    use crate::context::Setup;

    fn begun(requests: &Requests, slot: u64) -> (Context, Running) {
        let context = Context::new(Setup::default());
        let headers =
            HeaderMap::from_iter([(SLOT_HEADER.parse().unwrap(), slot.to_string().parse().unwrap())]);
        let running = requests.begin(&headers, &context);
        (context, running)
    }

    #[tokio::test]
    async fn a_slot_is_released_when_the_request_and_its_threads_have_ended() {
        let requests = Requests::default();
        let (context, running) = begun(&requests, 7);
        let thread = context.blocking().token();
        assert!(running.holds_its_slot());
        let mut over = std::pin::pin!(requests.over(7));
        assert!(futures_util::poll!(&mut over).is_pending(), "its answer is under way");
        drop(running);
        assert!(futures_util::poll!(&mut over).is_pending(), "its thread runs on");
        drop(thread);
        over.await;
        assert_eq!(futures_util::poll!(std::pin::pin!(requests.over(7))), Poll::Ready(()));
        assert!(requests.lock().is_empty());
    }

    #[tokio::test]
    async fn a_request_that_leaves_nothing_behind_is_forgotten() {
        let requests = Requests::default();
        let (_context, running) = begun(&requests, 1);
        assert!(!running.holds_its_slot());
        drop(running);
        assert!(requests.lock().is_empty());
        requests.over(1).await;
    }

    #[tokio::test]
    async fn the_end_of_a_stream_waits_for_its_threads() {
        let requests = Requests::default();
        let (context, running) = begun(&requests, 2);
        let thread = context.blocking().token();
        let mut ended = std::pin::pin!(running.ended());
        assert!(futures_util::poll!(&mut ended).is_pending());
        drop(thread);
        ended.await;
    }
}
