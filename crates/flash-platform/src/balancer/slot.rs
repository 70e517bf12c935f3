//! A slot on a load-balanced worker: what a request holds while the worker serves it.
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::GenerationsByModel;
use http::HeaderValue;
use tokio::sync::oneshot;

use super::{Balancer, Exchange};
use crate::{meter::CostShare, tally::Ending, worker_id::WorkerId};

/// A slot on a worker; given to the next in line on drop.
pub(crate) struct Slot {
    pub(super) balancer: Arc<Balancer>,
    pub(super) number: u64,
    pub worker: WorkerId,
    pub address: SocketAddr,
    /// Its share of the worker's cost.
    pub cost_share: CostShare,
    pub(super) since: Instant,
    /// How long its request waited for it.
    pub(super) waited: Duration,
    pub(super) ending: Option<Ending>,
    pub(super) progress: Progress,
    /// What models did for it; `None` where there are no models.
    pub(super) generated: Option<oneshot::Receiver<GenerationsByModel>>,
    /// Of a worker that knows the slot's number.
    pub(super) exchange: Option<Exchange>,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// No worker has seen it.
    Unsent,
    /// A worker may be at it.
    Sent,
    /// The request was answered completely, and nothing of it runs.
    Over,
}

impl Slot {
    /// The slot's number on its worker; `None` for a worker that does not support it.
    pub(crate) fn name(&self) -> Option<u64> {
        self.exchange.as_ref().map(|_| self.number)
    }

    /// Where the request can be sent as a frame; `None` where it cannot.
    pub(crate) fn exchange(&self) -> Option<&Exchange> {
        self.exchange.as_ref().filter(|exchange| exchange.takes_requests())
    }

    /// What the worker's port asks for; `None` if it asks for nothing.
    pub(crate) fn worker_key(&self) -> Option<&HeaderValue> {
        self.exchange.as_ref().map(Exchange::key)
    }

    /// Its name in frames on [`Slot::exchange`], where a worker always knows it.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The request is sent to the worker. From now on, the slot is free only when the worker says so.
    pub(crate) fn sent(&mut self) {
        self.progress = Progress::Sent;
    }

    /// The worker has seen nothing of it.
    pub(crate) fn unsent(&mut self) {
        self.progress = Progress::Unsent;
    }

    /// The worker has ended it.
    pub(crate) fn over(&mut self) {
        self.progress = Progress::Over;
    }

    /// What models did for it, once the worker has said it: at its end.
    pub(crate) fn generated(&mut self) -> Option<oneshot::Receiver<GenerationsByModel>> {
        self.generated.take()
    }

    /// How long its request has waited for it.
    pub(crate) fn waited(&mut self, waited: Duration) {
        self.waited = waited;
    }

    /// How its request ends, as far as known. A request that is retried elsewhere does not end here.
    pub(crate) fn ends(&mut self, ending: Option<Ending>) {
        self.ending = ending;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(ending) = self.ending {
            self.cost_share.record_end(ending, self.waited, self.since.elapsed());
        }
        // Before the next one begins.
        self.cost_share.end(None);
        let mut inner = self.balancer.lock();
        if let Some(backend) = inner.backends.get_mut(&self.worker) {
            if self.progress == Progress::Sent && backend.abandon(self.number, self.since) {
                return;
            }
            backend.end(self.number);
        }
        self.balancer.hand_out(inner, &self.worker);
    }
}
