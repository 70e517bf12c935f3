//! Keys and secrets of environments.
use std::collections::BTreeMap;

use flash_platform::KeyHash;
use flash_target::{KeyEntry, SecretEntry, now_ms};
use rusqlite::{OptionalExtension as _, TransactionBehavior, params};

use super::{
    environment_key::EnvironmentKey,
    error::{DatabaseError, Result},
    file::Database,
};
use crate::cipher::Sealed;

/// The current version of a secret.
pub(crate) struct StoredSecret {
    pub name: String,
    pub version: u64,
    /// `None` if it was removed in the meantime.
    pub sealed: Option<Sealed>,
}

impl Database {
    /// Adds a key; only its hash and its first characters are stored.
    pub(crate) fn add_key(
        &self,
        environment: EnvironmentKey,
        prefix: &str,
        hash: KeyHash,
        label: &str,
    ) -> Result<KeyEntry> {
        let entry = KeyEntry {
            prefix: prefix.to_owned(),
            label: label.to_owned(),
            created_ms: now_ms(),
            revoked_ms: None,
        };
        self.connection().execute(
            "INSERT INTO key (environment, prefix, sha256, label, created_ms) VALUES (?, ?, ?, ?, ?)",
            params![environment.0, prefix, hash.to_hex(), label, entry.created_ms],
        )?;
        Ok(entry)
    }

    /// Keys of an environment, oldest first.
    pub(crate) fn keys(&self, environment: EnvironmentKey) -> Result<Vec<KeyEntry>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT prefix, label, created_ms, revoked_ms FROM key WHERE environment = ?
             ORDER BY created_ms, rowid",
        )?;
        self.damages.readable(Some(environment), "key", statement.query([environment.0])?, |row| {
            Ok(KeyEntry {
                prefix: row.get(0)?,
                label: row.get(1)?,
                created_ms: row.get(2)?,
                revoked_ms: row.get(3)?,
            })
        })
    }

    /// Revokes this key. A key that was already revoked keeps its time.
    pub(crate) fn revoke_key(&self, environment: EnvironmentKey, prefix: &str) -> Result<()> {
        self.connection().execute(
            "UPDATE key SET revoked_ms = ? WHERE environment = ? AND prefix = ? AND revoked_ms IS NULL",
            params![now_ms(), environment.0, prefix],
        )?;
        Ok(())
    }

    /// Hashes of all keys that are not revoked.
    pub(crate) fn key_hashes(&self) -> Result<Vec<(EnvironmentKey, KeyHash)>> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached("SELECT environment, sha256 FROM key WHERE revoked_ms IS NULL")?;
        // A damaged key opens nothing.
        let damaged = || DatabaseError::Damaged("it is not the hash of a key".to_owned());
        self.damages.readable(None, "key of environment", statement.query([])?, |row| {
            let hash: String = row.get(1)?;
            Ok((EnvironmentKey(row.get(0)?), KeyHash::from_hex(&hash).ok_or_else(damaged)?))
        })
    }

    /// Adds a version of a secret. `seal` gets the version, which is part of the place the secret is bound to.
    pub(crate) fn set_secret<E>(
        &self,
        environment: EnvironmentKey,
        name: &str,
        seal: impl FnOnce(u64) -> std::result::Result<Sealed, E>,
    ) -> std::result::Result<SecretEntry, E>
    where
        E: From<DatabaseError>,
    {
        let problem = |error: rusqlite::Error| E::from(error.into());
        let mut connection = self.connection();
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(problem)?;
        let version: u64 = transaction
            .query_row(
                "SELECT coalesce(max(version), 0) + 1 FROM secret WHERE environment = ? AND name = ?",
                params![environment.0, name],
                |row| row.get(0),
            )
            .map_err(problem)?;
        let Sealed { nonce, ciphertext } = seal(version)?;
        let entry = SecretEntry { name: name.to_owned(), set_ms: now_ms(), version };
        transaction
            .execute(
                "UPDATE secret SET is_set = 0 WHERE environment = ? AND name = ?",
                params![environment.0, name],
            )
            .map_err(problem)?;
        transaction
            .execute(
                "INSERT INTO secret (environment, name, version, nonce, ciphertext, set_ms, is_set)
                 VALUES (?, ?, ?, ?, ?, ?, 1)",
                params![environment.0, name, version, nonce, ciphertext, entry.set_ms],
            )
            .map_err(problem)?;
        transaction.commit().map_err(problem)?;
        Ok(entry)
    }

    /// The secrets that are set, by name.
    pub(crate) fn secrets(&self, environment: EnvironmentKey) -> Result<Vec<SecretEntry>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT name, set_ms, version FROM secret WHERE environment = ? AND is_set = 1 ORDER BY name",
        )?;
        self.damages.readable(Some(environment), "secret", statement.query([environment.0])?, |row| {
            Ok(SecretEntry { name: row.get(0)?, set_ms: row.get(1)?, version: row.get(2)? })
        })
    }

    /// Unsets this secret; returns whether it was set.
    pub(crate) fn remove_secret(&self, environment: EnvironmentKey, name: &str) -> Result<bool> {
        let changed = self.connection().execute(
            "UPDATE secret SET is_set = 0 WHERE environment = ? AND name = ? AND is_set = 1",
            params![environment.0, name],
        )?;
        Ok(changed > 0)
    }

    /// These versions of secrets, as far as they exist.
    pub(crate) fn sealed_secrets(
        &self,
        environment: EnvironmentKey,
        versions: &BTreeMap<String, u64>,
    ) -> Result<Vec<StoredSecret>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT nonce, ciphertext FROM secret WHERE environment = ? AND name = ? AND version = ?",
        )?;
        versions
            .iter()
            .map(|(name, version)| {
                let sealed = statement
                    .query_row(params![environment.0, name, version], |row| {
                        let (nonce, ciphertext): (Option<Vec<u8>>, Option<Vec<u8>>) =
                            (row.get(0)?, row.get(1)?);
                        Ok(nonce.zip(ciphertext).map(|(nonce, ciphertext)| Sealed { nonce, ciphertext }))
                    })
                    .optional()?
                    .flatten();
                Ok(StoredSecret { name: name.clone(), version: *version, sealed })
            })
            .collect()
    }

    /// Whether any encrypted value is stored.
    pub(crate) fn has_sealed(&self) -> Result<bool> {
        let question = "SELECT EXISTS (SELECT 1 FROM secret WHERE ciphertext IS NOT NULL)";
        Ok(self.connection().query_row(question, [], |row| row.get(0))?)
    }

    /// Deletes the values that are no longer set and that none of these releases needs.
    pub(crate) fn forget_secrets(
        &self,
        environment: EnvironmentKey,
        needed: &[BTreeMap<String, u64>],
    ) -> Result<()> {
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let old: Vec<(String, u64)> = transaction
            .prepare_cached(
                "SELECT name, version FROM secret
                 WHERE environment = ? AND is_set = 0 AND ciphertext IS NOT NULL",
            )?
            .query_map([environment.0], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let is_needed =
            |name: &str, version: u64| needed.iter().any(|versions| versions.get(name) == Some(&version));
        for (name, version) in old.iter().filter(|(name, version)| !is_needed(name, *version)) {
            transaction.execute(
                "UPDATE secret SET nonce = NULL, ciphertext = NULL
                 WHERE environment = ? AND name = ? AND version = ?",
                params![environment.0, name, version],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }
}
