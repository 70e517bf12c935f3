//! Environments, as rows.
use std::net::IpAddr;

use flash_target::{EnvironmentId, NewEnvironment, now_ms};
use rusqlite::{OptionalExtension as _, Row, params};

use super::{environment_key::EnvironmentKey, error::Result, file::Database};

/// An environment as stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredEnvironment {
    pub key: EnvironmentKey,
    pub id: EnvironmentId,
    pub created_ms: u64,
    pub listen: IpAddr,
    pub port: u16,
}

impl Database {
    /// All readable environments, by app and name.
    pub(crate) fn environments(&self) -> Result<Vec<StoredEnvironment>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT id, app, name, created_ms, listen, port FROM environment ORDER BY app, name",
        )?;
        self.damages.readable(None, "environment", statement.query([])?, |row| Ok(environment_of(row)?))
    }

    /// Adds an environment. A duplicate name or port is an error.
    pub(crate) fn add_environment(
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
    pub(crate) fn remove_environment(&self, environment: EnvironmentKey) -> Result<()> {
        self.connection().execute("DELETE FROM environment WHERE id = ?", [environment.0])?;
        Ok(())
    }

    /// Whether an environment of this name exists.
    pub(crate) fn has_environment(&self, id: &EnvironmentId) -> Result<bool> {
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
