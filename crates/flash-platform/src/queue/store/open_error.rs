//! How durable a store is opened, and why it cannot be.
use std::path::PathBuf;

/// Which failures a committed job survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Any end of the platform, but not of the machine.
    Process,
    /// Like `Process`; after a power loss, the last changes may be missing, but the rest is complete.
    Machine,
    /// A power loss: each group of changes is on disk before its clients are answered.
    PowerLoss,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum OpenError {
    #[error("cannot create the directory {}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("{} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error("{} was written by a newer flash (its schema is {found}, this one supports up to {supported})", path.display())]
    Newer { path: PathBuf, found: i64, supported: i64 },
    #[error("{} is unreadable", path.display())]
    Unreadable { path: PathBuf, source: rusqlite::Error },
    #[error("could not start the writer thread")]
    Thread(#[source] std::io::Error),
}
