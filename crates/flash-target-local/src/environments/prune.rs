//! Deletes what was only needed by releases that nobody can go back to.
use std::{collections::BTreeSet, sync::Arc};

use flash_target::{DEFAULT_KEPT_RELEASES, ReleaseState};

use super::{
    host::Host,
    running::{Running, Versions},
};
use crate::{artifact, database::StoredRelease};

/// Deletes what was only needed by releases that nobody can go back to.
pub(super) async fn prune(host: &Host, running: &Arc<Running>) {
    let key = running.stored.key;
    // Without the job store it is unknown which releases have jobs left.
    let Some(platform) = running.platform() else { return };
    // In this order: a release resumed in the meantime is in one of them.
    let mut draining: BTreeSet<u64> = platform.stored_releases().into_iter().collect();
    draining.extend(platform.overview().draining);
    let directory = running.directory.clone();
    let pruned = host.ask(move |database| {
        let releases = database.releases(key)?;
        if !database.damaged(Some(key)).is_empty() {
            // It is unknown what unreadable releases need.
            return Ok(());
        }
        let runs = |release: &StoredRelease| {
            let record = &release.record;
            matches!(record.state, ReleaseState::Live | ReleaseState::Starting)
                || draining.contains(&record.number)
        };
        let running: BTreeSet<u64> =
            releases.iter().filter(|release| runs(release)).map(|release| release.record.number).collect();
        let mut back = releases.iter().filter(|release| release.live_ms.is_some()).peekable();
        let last = back.peek().map(|last| database.spec(key, last.record.number)).transpose()?.flatten();
        let kept = last.map_or(DEFAULT_KEPT_RELEASES, |spec| spec.runtime.keep_releases);
        let back = back.take(usize::try_from(kept).unwrap_or(usize::MAX));
        let kept = back.chain(releases.iter().filter(|release| runs(release)));
        let digests = kept.map(|release| release.record.digest.clone()).collect();
        let needed: Vec<Versions> = running
            .iter()
            .filter_map(|number| database.spec(key, *number).transpose())
            .map(|spec| spec.map(|spec| spec.secrets))
            .collect::<Result<_, _>>()?;
        artifact::prune(&directory, &digests, &running);
        database.forget_secrets(key, &needed)
    });
    if let Err(error) = pruned.await {
        // Retried after the next change.
        host.report.warning(&format!(
            "{}: cannot delete old releases yet: {}",
            running.stored.id,
            error.text()
        ));
    }
}
