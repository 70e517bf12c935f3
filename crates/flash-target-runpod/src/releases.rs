//! The recorded releases of an environment, read from the account. What they say is up to `ledger`.
use flash_target::{EnvironmentId, Problem, ReleaseSpec, TargetError};

use super::{
    ledger::{self, StoredEntry},
    rest::Rest,
};

/// The recorded releases, newest first.
pub(super) async fn entries(rest: &Rest, id: &EnvironmentId) -> Result<Vec<StoredEntry>, TargetError> {
    Ok(ledger::entries(id, &rest.templates().await?)?)
}

/// The spec of a release; `None`: the live one.
pub(super) async fn spec(
    rest: &Rest,
    id: &EnvironmentId,
    release: Option<u64>,
) -> Result<ReleaseSpec, TargetError> {
    let entries = entries(rest, id).await?;
    let found = match release {
        Some(number) => entries.iter().find(|kept| kept.entry.number == number),
        None => ledger::live(&entries),
    };
    let missing = || match release {
        Some(number) => TargetError::new(Problem::NotFound, format!("{id} has no release {number}"))
            .hint(format!("to list them: flash deploy history {}", id.name)),
        None => TargetError::new(Problem::NothingLive, format!("nothing is live in {id}"))
            .hint(format!("send a release: flash deploy send {}", id.name)),
    };
    found.map(|kept| kept.entry.spec.clone()).ok_or_else(missing)
}
