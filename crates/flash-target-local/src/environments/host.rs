//! What all environments share: the service's data, this machine, and the list of those that run.
//!
//! The parts beside this file work on it; it does none of their work.
use std::{collections::BTreeMap, sync::Arc};

use flash_platform::{Cluster, Machine, ReleaseHistory};
use flash_target::{EnvironmentId, Problem, TargetError};
use parking_lot::{Mutex, MutexGuard};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{blocking::blocking, running::Running};
use crate::{
    cipher::Cipher,
    database::{Database, DatabaseError, StoredEnvironment},
    directory::DataDirectory,
    report::SharedReport,
};

/// Makes the history of an environment's releases. It changes what is live, which this file knows nothing of.
pub(super) type HistoryOf = Box<dyn Fn(&EnvironmentId) -> Arc<dyn ReleaseHistory> + Send + Sync>;

/// See the module.
pub(super) struct Host {
    /// Makes what the dashboards of environments show and change of their releases.
    pub history: HistoryOf,
    pub directory: DataDirectory,
    pub database: Database,
    pub cipher: Arc<Cipher>,
    /// Shared by all environments.
    pub machine: Machine,
    /// Where the workers run, if not on this machine.
    pub cluster: Option<Arc<dyn Cluster>>,
    running: Mutex<BTreeMap<EnvironmentId, Arc<Running>>>,
    /// Held while an environment is made or removed.
    pub list: tokio::sync::Mutex<()>,
    /// Held while keys are passed to the platforms, so that the latest keys are passed last.
    pub rings: tokio::sync::Mutex<()>,
    /// No environment is restarted any more.
    pub closing: CancellationToken,
    pub tasks: TaskTracker,
    pub report: SharedReport,
}

impl Host {
    /// Without environments.
    pub(super) fn new(
        history: HistoryOf,
        directory: DataDirectory,
        database: Database,
        cipher: Cipher,
        machine: Machine,
        cluster: Option<Arc<dyn Cluster>>,
        report: SharedReport,
    ) -> Self {
        Self {
            history,
            directory,
            database,
            cipher: Arc::new(cipher),
            machine,
            cluster,
            running: Mutex::default(),
            list: tokio::sync::Mutex::default(),
            rings: tokio::sync::Mutex::default(),
            closing: CancellationToken::new(),
            tasks: TaskTracker::new(),
            report,
        }
    }

    /// The running environments, by app and name.
    pub(super) fn running(&self) -> MutexGuard<'_, BTreeMap<EnvironmentId, Arc<Running>>> {
        self.running.lock()
    }

    /// All environments, by app and name.
    pub(super) fn all(&self) -> Vec<Arc<Running>> {
        self.running().values().cloned().collect()
    }

    /// A running environment.
    pub(super) fn find(&self, id: &EnvironmentId) -> Result<Arc<Running>, TargetError> {
        self.running().get(id).cloned().ok_or_else(|| {
            TargetError::new(Problem::NoEnvironment, format!("`{}` has no environment `{}`", id.app, id.name))
                .hint("to list them: flash deploy list")
        })
    }

    /// Queries the database on a thread that may block.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Database) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, TargetError> {
        let database = self.database.clone();
        blocking(move || question(&database)).await
    }

    /// Whether an artifact is still there. Images are in a registry, which keeps them.
    pub(super) fn keeps(&self, running: &Running, digest: &str) -> bool {
        self.cluster.is_some() || running.directory.artifact(digest).is_dir()
    }

    /// Adds an environment to the list, without a platform yet.
    pub(super) async fn add(&self, stored: StoredEnvironment) -> Result<Arc<Running>, TargetError> {
        let directory = self.directory.environment(&stored.id);
        let running = blocking(move || Running::new(stored, directory)).await?;
        let running = Arc::new(running);
        self.running().insert(running.stored.id.clone(), running.clone());
        Ok(running)
    }
}
