//! Idempotency keys: which key belongs to which job of an endpoint, in any release.
//!
//! There is one table for all queues of an endpoint, including stored jobs that no queue has claimed yet. So a key
//! creates one job, even if a slow client sends it to a replaced release. Its lock is taken after a queue's lock,
//! never before.
use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use super::{extras::IdempotencyKey, id::JobId, ticket::Ticket};

/// The keys of all endpoints. Cheap to share.
#[derive(Clone, Default)]
pub(super) struct KeyTables(Arc<Mutex<HashMap<Arc<str>, Keys>>>);

/// The keys of one endpoint. Cheap to share.
#[derive(Clone, Default)]
pub(super) struct Keys(Arc<Mutex<Table>>);

/// See [`Keys`].
#[derive(Default)]
pub(super) struct Table(HashMap<Box<str>, Named>);

/// The job that a key names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub id: JobId,
    fingerprint: u64,
    /// Of its acceptance.
    pub ticket: Ticket,
}

/// The key names this job, which is for another function or has another input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyInUse(pub(super) JobId);

impl KeyTables {
    /// Those of one endpoint.
    pub(super) fn of(&self, endpoint: &Arc<str>) -> Keys {
        let mut tables = self.0.lock();
        tables.entry(endpoint.clone()).or_default().clone()
    }
}

impl Keys {
    /// The locked table.
    pub(super) fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock()
    }
}

impl Table {
    /// The job that a key names.
    ///
    /// # Errors
    /// When that job is for another function or has another input.
    pub(super) fn known(&self, key: &IdempotencyKey) -> Result<Option<Named>, KeyInUse> {
        match self.0.get(&key.key) {
            Some(named) if named.fingerprint == key.fingerprint => Ok(Some(*named)),
            Some(named) => Err(KeyInUse(named.id)),
            None => Ok(None),
        }
    }

    /// From now on the key names this job.
    pub(super) fn name(
        &mut self,
        IdempotencyKey { key, fingerprint }: &IdempotencyKey,
        id: JobId,
        ticket: Ticket,
    ) {
        self.0.insert(key.clone(), Named { id, fingerprint: *fingerprint, ticket });
    }

    /// The job is gone. A later job may have the key now.
    pub(super) fn forget(&mut self, key: &IdempotencyKey, id: JobId) {
        if self.0.get(&key.key).is_some_and(|named| named.id == id) {
            self.0.remove(&key.key);
        }
    }
}
