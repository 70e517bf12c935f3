//! Why the service's data cannot be used, and what to do about it.
use std::path::PathBuf;

use flash_target::{Problem, TargetError};
use rusqlite::{ErrorCode, ffi};

/// Why the file cannot be used or changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
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
        let (problem, hint) = match error {
            DatabaseError::Full => (Problem::Failed, Some("free space on it, then try again")),
            DatabaseError::ReadOnly => {
                (Problem::Failed, Some("make it writable, then: flash service restart"))
            }
            DatabaseError::Newer { .. } => (Problem::Failed, Some("use the newer version of flash")),
            DatabaseError::Damaged(_) => {
                (Problem::Failed, Some("restore flash.db from a backup, or move it away"))
            }
            DatabaseError::Gone => (Problem::NoEnvironment, Some("to list them: flash deploy list")),
            DatabaseError::Open { .. }
            | DatabaseError::File { .. }
            | DatabaseError::Exists
            | DatabaseError::Sqlite(_) => (Problem::Failed, None),
        };
        let target = Self::of(problem, error);
        match hint {
            Some(hint) => target.hint(hint),
            None => target,
        }
    }
}

/// The result of each function here.
pub(crate) type Result<T> = std::result::Result<T, DatabaseError>;
