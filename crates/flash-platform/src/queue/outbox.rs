//! Passes ends of jobs to webhooks. `crate::webhook` sends them.
use flash_protocol::wire::{RawJson, job::JobObject};
use tokio::sync::mpsc;

use super::{
    budget::Held,
    store::{Change, Failing, Store},
    ticket::{Seq, Ticket},
};

/// Maximum number of waiting ends; more are deferred until the next start of the platform.
pub(crate) const MAX_UNDELIVERED: usize = 100_000;

/// The end of a job with a webhook.
pub(crate) struct JobEnded {
    pub url: String,
    /// Tells this end from others, those of the same job after a retry among them. The same after a restart.
    pub event: String,
    pub job: JobObject,
    /// The job's input, which the body repeats.
    pub input: RawJson,
    pub(super) record: Option<Seq>,
    pub(super) ticket: Ticket,
    /// The memory that it uses until it is delivered.
    pub(super) _held: Held,
}

impl JobEnded {
    /// Waits until the end is durable, because a receiver must not learn what a crash could undo.
    ///
    /// # Errors
    /// When it cannot be stored now.
    pub(crate) async fn committed(&self, store: &Store) -> Result<(), Failing> {
        store.committed(self.ticket).await
    }

    /// It need not be delivered any more, not even after a restart.
    pub(crate) fn mark_delivered(&self, store: &Store) {
        if let Some(seq) = self.record {
            store.write(Change::Delivered { seq });
        }
    }
}

/// Where queues put ends that have a webhook. Cheap to share.
#[derive(Debug, Clone)]
pub(crate) struct WebhookOutbox(mpsc::Sender<JobEnded>);

impl WebhookOutbox {
    /// A sender, and its receiver.
    pub(crate) fn new() -> (Self, mpsc::Receiver<JobEnded>) {
        let (sender, receiver) = mpsc::channel(MAX_UNDELIVERED);
        (Self(sender), receiver)
    }

    pub(super) fn push(&self, ended: JobEnded) {
        // Full or closed: a stored job is delivered after the next start.
        let _ = self.0.try_send(ended);
    }
}
