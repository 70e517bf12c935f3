//! The start of the service: opens the data and starts what should run.
use std::{
    path::Path,
    sync::{Arc, Weak},
};

use flash_platform::{Cluster, LimitScope, Listeners, Machine};
use flash_target::{Problem, TargetError};

use super::{
    blocking::blocking,
    costs,
    host::{HistoryOf, Host},
    keys,
    releases::ReleasesOf,
    restart,
};
use crate::{
    cipher::Cipher,
    database::{Database, StoredEnvironment},
    directory::DataDirectory,
    report::SharedReport,
};

/// Opens the data and starts what should run.
pub(super) async fn open(
    directory: DataDirectory,
    cluster: Option<Arc<dyn Cluster>>,
    report: SharedReport,
) -> Result<Arc<Host>, TargetError> {
    let opened = {
        let directory = directory.clone();
        blocking(move || -> Result<_, TargetError> {
            let database = Database::open(&directory.database())?;
            database.fail_starting("the service ended while the release was starting")?;
            let cipher = Cipher::open(&directory.secret_key(), database.has_sealed()?)
                .map_err(|error| TargetError::of(Problem::Failed, error))?;
            let stored = database.environments()?;
            // The directory of an unreadable environment is unknown.
            if database.damaged(None).is_empty() {
                delete_removed(&directory, &stored);
            }
            Ok((database, cipher, stored))
        })
        .await?
    };
    let (database, cipher, stored) = opened;
    let warnings = report.clone();
    // In a cluster, nodes limit the workers.
    let limits = if cluster.is_some() { LimitScope::None } else { LimitScope::All };
    let machine = Machine::start(limits, Listeners::Several, move |text| warnings.warning(&text))
        .map_err(|error| TargetError::of(Problem::Failed, error))?;
    let host = Arc::new_cyclic(|me: &Weak<Host>| {
        let me = me.clone();
        let history: HistoryOf = Box::new(move |id| Arc::new(ReleasesOf::new(me.clone(), id.clone())));
        Host::new(history, directory, database, cipher, machine, cluster, report)
    });
    for stored in stored {
        let id = stored.id.clone();
        if let Err(error) = host.add(stored).await {
            // The others continue; this one is missing until the next start.
            host.report.warning(&format!("{id}: {}", error.text()));
        }
    }
    // Before anything listens, so that a valid key is never rejected.
    keys::hand_out(&host).await?;
    for running in host.all() {
        host.tasks.spawn(restart::restart(host.clone(), running));
    }
    host.tasks.spawn(costs::record_until_closed(host.clone()));
    Ok(host)
}

/// Deletes directories of removed environments that an earlier service did not get to.
fn delete_removed(directory: &DataDirectory, stored: &[StoredEnvironment]) {
    let kept: Vec<_> =
        stored.iter().map(|stored| directory.environment(&stored.id).path().to_owned()).collect();
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    for app in entries(&directory.path().join("environments")) {
        for environment in entries(&app.path()).filter(|entry| !kept.contains(&entry.path())) {
            // What cannot be deleted now is deleted at the next start.
            let _ = std::fs::remove_dir_all(environment.path());
        }
        // Stays while the app has environments.
        let _ = std::fs::remove_dir(app.path());
    }
}
