//! Keys and secrets of environments.
use std::{collections::BTreeMap, sync::Arc};

use flash_platform::KeyHash;
use flash_target::{EnvironmentId, KeyEntry, NewKey, Problem, SecretEntry, SecretValue, TargetError};
use flash_text::error_chain;
use flash_text::nearest;

use crate::keys;

use super::{Environments, blocking, running::Running};

/// The longest secret: the system accepts no longer variable.
const SECRET_LIMIT: usize = 100_000;

/// The place that a secret is bound to.
pub(super) fn place(running: &Running, name: &str, version: u64) -> String {
    format!("{}/{name}/{version}", running.stored.id)
}

impl Environments {
    /// Adds a key without passing it to the platform yet.
    pub(super) async fn add_key(&self, running: &Running, label: &str) -> Result<NewKey, TargetError> {
        let environment = running.stored.key;
        // Keys with equal first characters could not be told apart: with 62^6 prefixes that is rare, not
        // impossible.
        for _ in 0..5 {
            let key = keys::random_key()?;
            let (own, label) = (key.clone(), label.to_owned());
            let added = self
                .ask(move |database| {
                    let prefix = keys::prefix(&own);
                    if database.keys(environment)?.iter().any(|known| known.prefix == prefix) {
                        return Ok(None);
                    }
                    database.add_key(environment, prefix, KeyHash::of(own.expose()), &label).map(Some)
                })
                .await?;
            if let Some(entry) = added {
                return Ok(NewKey { entry, key });
            }
        }
        Err(TargetError::new(Problem::Failed, "could not make a key with a unique prefix"))
    }

    /// Gives every platform its own keys and those of its neighbors.
    pub(super) async fn hand_out_keys(&self) -> Result<(), TargetError> {
        let _alone = self.shared.rings.lock().await;
        let mut by_environment: BTreeMap<_, Vec<KeyHash>> = BTreeMap::new();
        for (environment, hash) in self.ask(|database| database.key_hashes()).await? {
            by_environment.entry(environment).or_default().push(hash);
        }
        for running in self.all() {
            let own = by_environment.get(&running.stored.key).cloned().unwrap_or_default();
            let others = by_environment.iter().filter(|(environment, _)| **environment != running.stored.key);
            running.ring.set(own, others.flat_map(|(_, hashes)| hashes.iter().copied()).collect());
        }
        Ok(())
    }

    /// All keys, including revoked ones.
    pub(crate) async fn keys(&self, id: &EnvironmentId) -> Result<Vec<KeyEntry>, TargetError> {
        let key = self.find(id)?.stored.key;
        self.ask(move |database| database.keys(key)).await
    }

    /// Makes another key; it is valid when this returns.
    pub(crate) async fn new_key(&self, id: &EnvironmentId, label: &str) -> Result<NewKey, TargetError> {
        let running = self.find(id)?;
        let key = self.add_key(&running, label).await?;
        self.hand_out_keys().await?;
        Ok(key)
    }

    /// Revokes this key; it is invalid when this returns. The prefix may be shortened as long as it is unique.
    pub(crate) async fn revoke_key(&self, id: &EnvironmentId, prefix: &str) -> Result<KeyEntry, TargetError> {
        let keys = self.keys(id).await?;
        let hint = format!("to list them: flash key list {}", id.name);
        let fitting: Vec<&KeyEntry> =
            keys.iter().filter(|key| !prefix.is_empty() && key.prefix.starts_with(prefix)).collect();
        let found = match fitting.as_slice() {
            [only] => (*only).clone(),
            [] => {
                let near = nearest(prefix, keys.iter().map(|key| key.prefix.as_str()));
                let message = format!("{id} has no key that begins with `{prefix}`{near}");
                return Err(TargetError::new(Problem::NotFound, message).hint(hint));
            }
            several => {
                let message = format!("{} keys of {id} begin with `{prefix}`", several.len());
                return Err(TargetError::new(Problem::Refused, message).hint(hint));
            }
        };
        let (environment, prefix) = (self.find(id)?.stored.key, found.prefix.clone());
        self.ask(move |database| database.revoke_key(environment, &prefix)).await?;
        self.hand_out_keys().await?;
        let keys = self.keys(id).await?;
        Ok(keys.into_iter().find(|key| key.prefix == found.prefix).unwrap_or(found))
    }

    /// Names of secrets.
    pub(crate) async fn secrets(&self, id: &EnvironmentId) -> Result<Vec<SecretEntry>, TargetError> {
        let key = self.find(id)?.stored.key;
        self.ask(move |database| database.secrets(key)).await
    }

    /// Sets a secret for future releases.
    pub(crate) async fn set_secret(
        &self,
        id: &EnvironmentId,
        name: &str,
        value: SecretValue,
    ) -> Result<SecretEntry, TargetError> {
        let running = self.find(id)?;
        check_secret(name, &value)?;
        let (of, shared, name) = (running.clone(), self.shared.clone(), name.to_owned());
        let entry = blocking(move || {
            shared.database.set_secret(of.stored.key, &name, |version| {
                shared
                    .cipher
                    .seal(&place(&of, &name, version), &value)
                    .map_err(|error| TargetError::new(Problem::Failed, error_chain(&error)))
            })
        })
        .await?;
        self.forget_unused(&running).await;
        Ok(entry)
    }

    /// Removes a secret from future releases.
    pub(crate) async fn remove_secret(&self, id: &EnvironmentId, name: &str) -> Result<(), TargetError> {
        let running = self.find(id)?;
        let (key, own) = (running.stored.key, name.to_owned());
        if !self.ask(move |database| database.remove_secret(key, &own)).await? {
            let there = self.secrets(id).await?;
            let near = nearest(name, there.iter().map(|secret| secret.name.as_str()));
            return Err(TargetError::new(Problem::NotFound, format!("{id} has no secret `{name}`{near}"))
                .hint(format!("to list them: flash secret list {}", id.name)));
        }
        self.forget_unused(&running).await;
        Ok(())
    }

    /// Deletes old values at once, unless a release is about to use them.
    async fn forget_unused(&self, running: &Arc<Running>) {
        // During a change, the end of the change does this.
        if let Some(_change) = running.begin_own() {
            self.prune(running).await;
        }
    }
}

/// Whether the system accepts it as a variable of a process.
fn check_secret(name: &str, value: &SecretValue) -> Result<(), TargetError> {
    let refused = |message: String| Err(TargetError::new(Problem::Refused, message));
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    if !is_name || name.len() > 200 {
        return refused(format!("`{name}` is not a valid secret name; expected letters, digits and `_`"));
    }
    if name.starts_with("FLASH_") || name.starts_with("RUNPOD_") {
        return refused(format!("`{name}` is not a valid secret name: it is reserved for the platform"));
    }
    if value.expose().contains('\0') || value.expose().len() > SECRET_LIMIT {
        return refused(format!(
            "the value of `{name}` is too long ({SECRET_LIMIT} bytes at most), or contains a zero byte"
        ));
    }
    Ok(())
}
