//! Keys of environments: made, passed to the platforms, revoked.
use std::collections::BTreeMap;

use flash_platform::KeyHash;
use flash_target::{EnvironmentId, KeyEntry, NewKey, Problem, TargetError};
use flash_text::nearest;

use super::{host::Host, running::Running};
use crate::keys::{prefix as prefix_of, random_key};

/// Adds a key without passing it to the platform yet.
pub(super) async fn add(host: &Host, running: &Running, label: &str) -> Result<NewKey, TargetError> {
    let environment = running.stored.key;
    // Keys with equal first characters could not be told apart: with 62^6 prefixes that is rare, not
    // impossible.
    for _ in 0..5 {
        let key = random_key()?;
        let (own, label) = (key.clone(), label.to_owned());
        let added = host
            .ask(move |database| {
                let prefix = prefix_of(&own);
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
pub(super) async fn hand_out(host: &Host) -> Result<(), TargetError> {
    let _alone = host.rings.lock().await;
    let mut by_environment: BTreeMap<_, Vec<KeyHash>> = BTreeMap::new();
    for (environment, hash) in host.ask(|database| database.key_hashes()).await? {
        by_environment.entry(environment).or_default().push(hash);
    }
    for running in host.all() {
        let own = by_environment.get(&running.stored.key).cloned().unwrap_or_default();
        let others = by_environment.iter().filter(|(environment, _)| **environment != running.stored.key);
        running.ring.set(own, others.flat_map(|(_, hashes)| hashes.iter().copied()).collect());
    }
    Ok(())
}

/// All keys, including revoked ones.
pub(super) async fn list(host: &Host, id: &EnvironmentId) -> Result<Vec<KeyEntry>, TargetError> {
    let key = host.find(id)?.stored.key;
    host.ask(move |database| database.keys(key)).await
}

/// Makes another key; it is valid when this returns.
pub(super) async fn new_key(host: &Host, id: &EnvironmentId, label: &str) -> Result<NewKey, TargetError> {
    let running = host.find(id)?;
    let key = add(host, &running, label).await?;
    hand_out(host).await?;
    Ok(key)
}

/// Revokes this key; it is invalid when this returns. The prefix may be shortened as long as it is unique.
pub(super) async fn revoke_key(
    host: &Host,
    id: &EnvironmentId,
    prefix: &str,
) -> Result<KeyEntry, TargetError> {
    let keys = list(host, id).await?;
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
    let (environment, prefix) = (host.find(id)?.stored.key, found.prefix.clone());
    host.ask(move |database| database.revoke_key(environment, &prefix)).await?;
    hand_out(host).await?;
    let keys = list(host, id).await?;
    Ok(keys.into_iter().find(|key| key.prefix == found.prefix).unwrap_or(found))
}
