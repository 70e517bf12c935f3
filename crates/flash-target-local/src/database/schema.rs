//! The tables, and how the file is opened.
use std::{io, os::unix::fs::OpenOptionsExt as _, path::Path};

use rusqlite::Connection;

use super::error::{DatabaseError, Result};

/// The version of the tables below. A file with a lower version is migrated.
const VERSION: i64 = 2;

/// Since version 2: limits of workers that a person has set beside the live release.
const TABLES_OF_2: &str = "
    CREATE TABLE scale (
        environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
        worker TEXT NOT NULL,
        workers_min INTEGER NOT NULL,
        workers_max INTEGER NOT NULL,
        set_ms INTEGER NOT NULL,
        until_ms INTEGER,
        PRIMARY KEY (environment, worker)
    );
";

/// A removed secret keeps its row without its value, so that version numbers continue. Costs are sums per minute.
const TABLES: &str = "
    CREATE TABLE environment (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        app TEXT NOT NULL,
        name TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        listen TEXT NOT NULL,
        port INTEGER NOT NULL UNIQUE,
        UNIQUE (app, name)
    );
    CREATE TABLE release (
        environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
        number INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        live_ms INTEGER,
        state TEXT NOT NULL,
        is_live INTEGER NOT NULL,
        spec TEXT NOT NULL,
        digest TEXT NOT NULL,
        origin TEXT NOT NULL,
        notes TEXT,
        rollback_of INTEGER,
        PRIMARY KEY (environment, number)
    );
    CREATE TABLE key (
        environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
        prefix TEXT NOT NULL,
        sha256 TEXT NOT NULL UNIQUE,
        label TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        revoked_ms INTEGER,
        PRIMARY KEY (environment, prefix)
    );
    CREATE TABLE secret (
        environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        nonce BLOB,
        ciphertext BLOB,
        set_ms INTEGER NOT NULL,
        is_set INTEGER NOT NULL,
        PRIMARY KEY (environment, name, version)
    );
    CREATE TABLE worker_cost (
        environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
        minute INTEGER NOT NULL,
        worker TEXT NOT NULL,
        bill INTEGER NOT NULL,
        start INTEGER NOT NULL,
        run INTEGER NOT NULL,
        start_us INTEGER NOT NULL,
        run_us INTEGER NOT NULL,
        idle_us INTEGER NOT NULL,
        started INTEGER NOT NULL,
        PRIMARY KEY (environment, minute, worker)
    ) WITHOUT ROWID;
    CREATE TABLE function_cost (
        environment INTEGER NOT NULL REFERENCES environment ON DELETE CASCADE,
        minute INTEGER NOT NULL,
        worker TEXT NOT NULL,
        function TEXT NOT NULL,
        calls INTEGER NOT NULL,
        cost INTEGER NOT NULL,
        ran_us INTEGER NOT NULL,
        PRIMARY KEY (environment, minute, worker, function)
    ) WITHOUT ROWID;
";

/// SQLite gives its other files the mode of this one.
fn make_private(path: &Path) -> Result<()> {
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    file.map(drop).map_err(|error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DatabaseError::Full,
        io::ErrorKind::ReadOnlyFilesystem => DatabaseError::ReadOnly,
        _ => DatabaseError::File { path: path.to_owned(), source: error },
    })
}

/// Opens the file, creating it if it is missing.
pub(super) fn open(path: &Path) -> Result<Connection> {
    // Errors that have their own message and hint keep it.
    let problem = |error: rusqlite::Error| match DatabaseError::from(error) {
        DatabaseError::Sqlite(source) => DatabaseError::Open { path: path.to_owned(), source },
        known => known,
    };
    make_private(path)?;
    let mut connection = Connection::open(path).map_err(problem)?;
    // Values of removed secrets are overwritten, not left in free pages.
    connection
        .execute_batch(
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;",
        )
        .map_err(problem)?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(problem)?;
    match version {
        0 | 1 => {
            let transaction = connection.transaction().map_err(problem)?;
            if version == 0 {
                transaction.execute_batch(TABLES).map_err(problem)?;
            }
            transaction.execute_batch(TABLES_OF_2).map_err(problem)?;
            transaction.pragma_update(None, "user_version", VERSION).map_err(problem)?;
            transaction.commit().map_err(problem)?;
        }
        VERSION => {}
        found => return Err(DatabaseError::Newer { path: path.to_owned(), found }),
    }
    Ok(connection)
}
