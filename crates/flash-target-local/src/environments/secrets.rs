//! Secrets of environments: set, removed, and opened for the workers of a release.
use std::sync::Arc;

use flash_target::{EnvironmentId, Problem, SecretEntry, SecretValue, TargetError};
use flash_text::nearest;

use super::{
    blocking::blocking,
    host::Host,
    prune,
    running::{Running, Versions},
};
use crate::{cipher::Cipher, database::Database};

/// The longest secret: the system accepts no longer variable.
const SECRET_LIMIT: usize = 100_000;

/// The place that a secret is bound to.
fn place(running: &Running, name: &str, version: u64) -> String {
    format!("{}/{name}/{version}", running.stored.id)
}

/// Names of secrets.
pub(super) async fn list(host: &Host, id: &EnvironmentId) -> Result<Vec<SecretEntry>, TargetError> {
    let key = host.find(id)?.stored.key;
    host.ask(move |database| database.secrets(key)).await
}

/// Sets a secret for future releases.
pub(super) async fn set_secret(
    host: &Host,
    id: &EnvironmentId,
    name: &str,
    value: SecretValue,
) -> Result<SecretEntry, TargetError> {
    let running = host.find(id)?;
    check_secret(name, &value)?;
    let (of, name) = (running.clone(), name.to_owned());
    let (database, cipher) = (host.database.clone(), host.cipher.clone());
    let entry = blocking(move || {
        database.set_secret(of.stored.key, &name, |version| {
            cipher
                .seal(&place(&of, &name, version), &value)
                .map_err(|error| TargetError::of(Problem::Failed, error))
        })
    })
    .await?;
    forget_unused(host, &running).await;
    Ok(entry)
}

/// Removes a secret from future releases.
pub(super) async fn remove_secret(host: &Host, id: &EnvironmentId, name: &str) -> Result<(), TargetError> {
    let running = host.find(id)?;
    let (key, own) = (running.stored.key, name.to_owned());
    if !host.ask(move |database| database.remove_secret(key, &own)).await? {
        let there = list(host, id).await?;
        let near = nearest(name, there.iter().map(|secret| secret.name.as_str()));
        return Err(TargetError::new(Problem::NotFound, format!("{id} has no secret `{name}`{near}"))
            .hint(format!("to list them: flash secret list {}", id.name)));
    }
    forget_unused(host, &running).await;
    Ok(())
}

/// Deletes old values at once, unless a release is about to use them.
async fn forget_unused(host: &Host, running: &Arc<Running>) {
    // During a change, the end of the change does this.
    if let Some(_change) = running.begin_own() {
        prune::prune(host, running).await;
    }
}

/// The secrets of a release, only for its workers' environment.
pub(super) fn open(
    database: &Database,
    cipher: &Cipher,
    running: &Running,
    versions: &Versions,
) -> Result<Vec<(String, String)>, TargetError> {
    let stored = database.sealed_secrets(running.stored.key, versions)?;
    stored
        .into_iter()
        .map(|secret| {
            let problem = || {
                TargetError::new(Problem::Failed, format!("the secret `{}` cannot be used", secret.name))
                    .hint(format!(
                        "set it again: flash secret set {} {}",
                        running.stored.id.name, secret.name
                    ))
            };
            let sealed = secret.sealed.as_ref().ok_or_else(|| problem().because("its value was deleted"))?;
            let place = place(running, &secret.name, secret.version);
            let value = cipher.open_sealed(&place, sealed).map_err(|error| problem().because(error))?;
            Ok((secret.name.clone(), value.expose().to_owned()))
        })
        .collect()
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
