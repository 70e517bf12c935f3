//! Releases of environments.
use flash_target::{ReleaseRecord, ReleaseSpec, ReleaseState, now_ms};
use rusqlite::{OptionalExtension as _, Row, TransactionBehavior, params};

use super::{environment_key::EnvironmentKey, error::Result, file::Database};

/// A release to add.
pub(crate) struct NewRow<'a> {
    pub spec: &'a ReleaseSpec,
    pub notes: Option<&'a str>,
    pub rollback_of: Option<u64>,
}

/// A release as stored, without its spec.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StoredRelease {
    /// `kept` depends on the disk.
    pub record: ReleaseRecord,
    /// When it went live, if it did.
    pub live_ms: Option<u64>,
}

const COLUMNS: &str = "number, created_ms, live_ms, state, digest, origin, notes, rollback_of";

impl Database {
    /// Adds a starting release with the next number.
    pub(crate) fn add_release(&self, environment: EnvironmentKey, new: &NewRow<'_>) -> Result<ReleaseRecord> {
        let spec = serde_json::to_string(new.spec)?;
        let origin = serde_json::to_string(&new.spec.origin)?;
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let number: u64 = transaction.query_row(
            "SELECT coalesce(max(number), 0) + 1 FROM release WHERE environment = ?",
            [environment.0],
            |row| row.get(0),
        )?;
        let record = ReleaseRecord {
            number,
            created_ms: now_ms(),
            state: ReleaseState::Starting,
            digest: new.spec.artifact.digest().to_owned(),
            origin: new.spec.origin.clone(),
            notes: new.notes.map(str::to_owned),
            rollback_of: new.rollback_of,
            kept: true,
        };
        transaction.execute(
            "INSERT INTO release (environment, number, created_ms, state, is_live, spec, digest, origin, notes,
                                  rollback_of)
             VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, ?)",
            params![
                environment.0,
                number,
                record.created_ms,
                serde_json::to_string(&record.state)?,
                spec,
                record.digest,
                origin,
                record.notes,
                record.rollback_of,
            ],
        )?;
        transaction.commit()?;
        Ok(record)
    }

    /// Makes this release the live one and replaces the previous one. `None`: nothing is live.
    pub(crate) fn set_live(&self, environment: EnvironmentKey, release: Option<u64>) -> Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute(
            "UPDATE release SET state = ?, is_live = 0 WHERE environment = ? AND is_live = 1",
            params![serde_json::to_string(&ReleaseState::Replaced)?, environment.0],
        )?;
        // A release brings its own limits.
        transaction.execute("DELETE FROM scale WHERE environment = ?", [environment.0])?;
        if let Some(number) = release {
            transaction.execute(
                "UPDATE release SET state = ?, is_live = 1, live_ms = ? WHERE environment = ? AND number = ?",
                params![serde_json::to_string(&ReleaseState::Live)?, now_ms(), environment.0, number],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Records that this release never went live.
    pub(crate) fn set_failed(&self, environment: EnvironmentKey, number: u64, reason: &str) -> Result<()> {
        let state = serde_json::to_string(&ReleaseState::Failed { reason: reason.to_owned() })?;
        self.connection().execute(
            "UPDATE release SET state = ? WHERE environment = ? AND number = ?",
            params![state, environment.0, number],
        )?;
        Ok(())
    }

    /// Ends all releases that were starting under an earlier service.
    pub(crate) fn fail_starting(&self, reason: &str) -> Result<()> {
        let starting = serde_json::to_string(&ReleaseState::Starting)?;
        let failed = serde_json::to_string(&ReleaseState::Failed { reason: reason.to_owned() })?;
        self.connection().execute("UPDATE release SET state = ? WHERE state = ?", [failed, starting])?;
        Ok(())
    }

    /// All readable releases, newest first.
    pub(crate) fn releases(&self, environment: EnvironmentKey) -> Result<Vec<StoredRelease>> {
        let connection = self.connection();
        let sql = format!("SELECT {COLUMNS} FROM release WHERE environment = ? ORDER BY number DESC");
        let mut statement = connection.prepare_cached(&sql)?;
        self.damages.readable(Some(environment), "release", statement.query([environment.0])?, release_of)
    }

    /// The number of the live release.
    pub(crate) fn live_number(&self, environment: EnvironmentKey) -> Result<Option<u64>> {
        let connection = self.connection();
        let question = "SELECT number FROM release WHERE environment = ? AND is_live = 1";
        let mut statement = connection.prepare_cached(question)?;
        Ok(statement.query_row([environment.0], |row| row.get(0)).optional()?)
    }

    /// The live release. If its row is damaged, as much as its spec tells.
    pub(crate) fn live(&self, environment: EnvironmentKey) -> Result<Option<StoredRelease>> {
        let read = {
            let connection = self.connection();
            let sql = format!("SELECT {COLUMNS} FROM release WHERE environment = ? AND is_live = 1");
            let mut statement = connection.prepare_cached(&sql)?;
            self.damages.readable(
                Some(environment),
                "release",
                statement.query([environment.0])?,
                release_of,
            )?
        };
        if let Some(live) = read.into_iter().next() {
            return Ok(Some(live));
        }
        let Some(number) = self.live_number(environment)? else { return Ok(None) };
        Ok(self.spec(environment, number)?.map(|spec| StoredRelease {
            record: ReleaseRecord {
                number,
                created_ms: 0,
                state: ReleaseState::Live,
                digest: spec.artifact.digest().to_owned(),
                origin: spec.origin,
                notes: None,
                rollback_of: None,
                kept: false,
            },
            live_ms: Some(0),
        }))
    }

    /// The spec of a release.
    pub(crate) fn spec(&self, environment: EnvironmentKey, number: u64) -> Result<Option<ReleaseSpec>> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT spec FROM release WHERE environment = ? AND number = ?")?;
        let text: Option<String> =
            statement.query_row(params![environment.0, number], |row| row.get(0)).optional()?;
        Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
    }
}

fn release_of(row: &Row<'_>) -> Result<StoredRelease> {
    let text = |column: usize| -> Result<String> { Ok(row.get(column)?) };
    Ok(StoredRelease {
        record: ReleaseRecord {
            number: row.get(0)?,
            created_ms: row.get(1)?,
            state: serde_json::from_str(&text(3)?)?,
            digest: text(4)?,
            origin: serde_json::from_str(&text(5)?)?,
            notes: row.get(6)?,
            rollback_of: row.get(7)?,
            kept: false,
        },
        live_ms: row.get(2)?,
    })
}
