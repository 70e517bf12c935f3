//! Limits of workers that a person has set, as rows. They end with the next release.
use flash_target::ManualScale;
use rusqlite::params;

use super::{environment_key::EnvironmentKey, error::Result, file::Database};

impl Database {
    /// All of an environment, also those whose time is over.
    pub(crate) fn scales(&self, environment: EnvironmentKey) -> Result<Vec<ManualScale>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT worker, workers_min, workers_max, set_ms, until_ms FROM scale WHERE environment = ?
             ORDER BY worker",
        )?;
        self.damages.readable(Some(environment), "scale", statement.query([environment.0])?, |row| {
            Ok(ManualScale {
                worker: row.get(0)?,
                workers_min: row.get(1)?,
                workers_max: row.get(2)?,
                set_ms: row.get(3)?,
                until_ms: row.get(4)?,
            })
        })
    }

    /// Sets the limits of a worker type.
    pub(crate) fn set_scale(&self, environment: EnvironmentKey, scale: &ManualScale) -> Result<()> {
        let ManualScale { worker, workers_min, workers_max, set_ms, until_ms } = scale;
        self.connection().execute(
            "INSERT OR REPLACE INTO scale (environment, worker, workers_min, workers_max, set_ms, until_ms)
             VALUES (?, ?, ?, ?, ?, ?)",
            params![environment.0, worker, workers_min, workers_max, set_ms, until_ms],
        )?;
        Ok(())
    }

    /// The worker type has the limits of its release again.
    pub(crate) fn forget_scale(&self, environment: EnvironmentKey, worker: &str) -> Result<()> {
        self.connection().execute(
            "DELETE FROM scale WHERE environment = ? AND worker = ?",
            params![environment.0, worker],
        )?;
        Ok(())
    }
}
