//! What a queue is made with: the settings of one queue, and what all queues of a platform share.
use std::sync::Arc;

use super::{
    budget::Budget,
    clock::Clock,
    keys::Keys,
    limits::Limits,
    outbox::WebhookOutbox,
    store::{Change, Store},
};
use crate::traces::Traces;

/// The settings of a queue.
pub(super) struct QueueSettings {
    pub endpoint: Arc<str>,
    /// The number of its release.
    pub release: u64,
    pub limits: Limits,
    pub clock: Clock,
    pub store: Store,
    /// Those of its endpoint, in all releases.
    pub keys: Keys,
    pub outbox: WebhookOutbox,
    /// What all jobs of the platform may hold together.
    pub budget: Budget,
    pub traces: Option<Traces>,
}

/// What all queues of a platform share.
#[derive(Clone)]
pub(crate) struct QueueContext {
    pub clock: Clock,
    pub store: Store,
    pub outbox: WebhookOutbox,
    /// What their jobs may hold together.
    pub budget: Budget,
    /// Where spans of their jobs go, if anywhere.
    pub traces: Option<Traces>,
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
