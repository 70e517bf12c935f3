//! The open file: one connection, used by one thread at a time, and the rows of it that cannot be read.
//!
//! What is in it is up to the files for its tables.
use std::{path::Path, sync::Arc};

use parking_lot::{Mutex, MutexGuard};
use rusqlite::Connection;

use super::{damage::Damages, environment_key::EnvironmentKey, error::Result, schema};

/// A handle to the open file. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Database {
    connection: Arc<Mutex<Connection>>,
    pub(super) damages: Arc<Damages>,
}

impl Database {
    /// Opens the file, creating it if it is missing.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self { connection: Arc::new(Mutex::new(schema::open(path)?)), damages: Arc::default() })
    }

    /// The connection, once no other thread uses it.
    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock()
    }

    /// Rows that could not be read: of this environment, or, for `None`, of environments themselves.
    pub(crate) fn damaged(&self, environment: Option<EnvironmentKey>) -> Vec<String> {
        self.damages.of(environment)
    }

    /// Those not yet logged.
    pub(crate) fn unreported_damage(&self) -> Vec<String> {
        self.damages.unreported()
    }
}
