//! What the handle of a store and its writer share: changes that are not written yet, and how far the writer is.
use std::sync::{Arc, atomic::AtomicU64};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::watch;

use super::{super::ticket::Ticket, record::Change};

/// Changes cannot be written now; they are kept in memory and retried.
#[derive(Debug, Clone, thiserror::Error)]
#[error("could not write to the job store: {0}")]
pub(crate) struct Failing(pub(super) Arc<str>);

/// See the module.
pub(super) struct Shared {
    pub(super) pending: Mutex<Pending>,
    /// Changes came, or the store closes.
    pub(super) wake: Condvar,
    pub(super) progress: watch::Sender<Progress>,
    pub(super) next_seq: AtomicU64,
    pub(super) writer: Mutex<Option<std::thread::JoinHandle<()>>>,
}

/// Changes that the writer has not taken.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) changes: Vec<Change>,
    pub(super) last: Ticket,
    pub(super) closed: bool,
}

/// How far the writer is.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    pub(super) committed: Ticket,
    pub(super) failing: Option<Failing>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock()
    }
}
