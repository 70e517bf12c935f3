//! The service's permanent data in one SQLite file: environments, releases, keys, secrets, costs.
//!
//! Each change is on disk when its function returns. Everything here blocks; the service calls it on threads for
//! blocking work. Which changes are allowed is decided elsewhere.
mod access;
mod costs;
mod damage;
mod releases;
mod schema;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use flash_target::{EnvironmentId, NewEnvironment, Problem, TargetError};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, ffi, params};

use super::clock::now_ms;

pub(super) use costs::{FunctionSpent, Spent, WorkerSpent};
pub(super) use releases::{NewRow, StoredRelease};

/// A handle to the open file. Cheap to clone.
#[derive(Clone)]
pub(super) struct Database {
    connection: Arc<Mutex<Connection>>,
    damages: Arc<damage::Damages>,
}

/// The number of an environment in the file, used by other rows to refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EnvironmentKey(i64);

/// An environment as stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct StoredEnvironment {
    pub key: EnvironmentKey,
    pub id: EnvironmentId,
    pub created_ms: u64,
    pub listen: IpAddr,
    pub port: u16,
}

/// Why the file cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum DatabaseError {
    #[error("cannot open {}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("cannot open {}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} was written by a newer version of flash: its format is version {found}", path.display())]
    Newer { path: PathBuf, found: i64 },
    #[error("the disk of the service's data is full")]
    Full,
    #[error("cannot write the service's data: its disk is read-only")]
    ReadOnly,
    #[error("it already exists")]
    Exists,
    #[error("the environment no longer exists")]
    Gone,
    #[error("the service's data is damaged: {0}")]
    Damaged(String),
    #[error("cannot use the service's data")]
    Sqlite(#[source] rusqlite::Error),
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::ConstraintViolation) => {
                match error.sqlite_error().map(|error| error.extended_code) {
                    Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => Self::Exists,
                    Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => Self::Gone,
                    _ => Self::Sqlite(error),
                }
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error.to_string()),
            _ => Self::Sqlite(error),
        }
    }
}

impl From<serde_json::Error> for DatabaseError {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

impl From<DatabaseError> for TargetError {
    fn from(error: DatabaseError) -> Self {
        let problem = if matches!(error, DatabaseError::Gone) { Problem::NotFound } else { Problem::Failed };
        let target = Self::new(problem, flash_text::error_chain(&error));
        match error {
            DatabaseError::Full => target.hint("free space on it, then try again"),
            DatabaseError::ReadOnly => target.hint("make it writable, then: flash service restart"),
            DatabaseError::Newer { .. } => target.hint("use the newer version of flash"),
            DatabaseError::Damaged(_) => target.hint("restore flash.db from a backup, or move it away"),
            DatabaseError::Open { .. }
            | DatabaseError::File { .. }
            | DatabaseError::Exists
            | DatabaseError::Gone
            | DatabaseError::Sqlite(_) => target,
        }
    }
}

/// The result of each function here.
pub(super) type Result<T> = std::result::Result<T, DatabaseError>;

impl Database {
    /// Opens the file, creating it if it is missing.
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self { connection: Arc::new(Mutex::new(schema::open(path)?)), damages: Arc::default() })
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic during a transaction rolls it back.
        self.connection.lock()
    }

    /// All readable environments, by app and name.
    pub(super) fn environments(&self) -> Result<Vec<StoredEnvironment>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT id, app, name, created_ms, listen, port FROM environment ORDER BY app, name",
        )?;
        self.readable(None, "environment", statement.query([])?, |row| Ok(environment_of(row)?))
    }

    /// Adds an environment. A duplicate name or port is an error.
    pub(super) fn add_environment(
        &self,
        new: &NewEnvironment,
        listen: IpAddr,
        port: u16,
    ) -> Result<StoredEnvironment> {
        let created_ms = now_ms();
        let connection = self.connection();
        connection.execute(
            "INSERT INTO environment (app, name, created_ms, listen, port) VALUES (?, ?, ?, ?, ?)",
            params![new.id.app, new.id.name, created_ms, listen.to_string(), port],
        )?;
        let key = EnvironmentKey(connection.last_insert_rowid());
        Ok(StoredEnvironment { key, id: new.id.clone(), created_ms, listen, port })
    }

    /// Removes an environment and everything that refers to it.
    pub(super) fn remove_environment(&self, environment: EnvironmentKey) -> Result<()> {
        self.connection().execute("DELETE FROM environment WHERE id = ?", [environment.0])?;
        Ok(())
    }

    /// Whether an environment of this name exists.
    pub(super) fn has_environment(&self, id: &EnvironmentId) -> Result<bool> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM environment WHERE app = ? AND name = ?")?;
        Ok(statement.query_row([&id.app, &id.name], |_| Ok(())).optional()?.is_some())
    }
}

fn environment_of(row: &Row<'_>) -> rusqlite::Result<StoredEnvironment> {
    let listen: String = row.get(4)?;
    let listen = listen.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(4, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(StoredEnvironment {
        key: EnvironmentKey(row.get(0)?),
        // Checked when it was made.
        id: EnvironmentId { app: row.get(1)?, name: row.get(2)? },
        created_ms: row.get(3)?,
        listen,
        port: row.get(5)?,
    })
}

#[cfg(test)]
mod power_loss;
#[cfg(test)]
mod tests;
