//! The environments on this machine while the service runs: each has a platform of its own.
//!
//! Manages their life: made, restarted with the service, removed. `change` changes what is live, `view` reports it,
//! `access` holds keys and secrets, `costs` the sums of costs. The database is authoritative: what runs is made to
//! match it.
mod access;
mod change;
mod costs;
mod restart;
mod running;
mod view;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use flash_platform::{ConnectionShare, LimitScope, Listeners, Machine};
use flash_process::port_holder::holder_of;
use flash_target::{Created, EnvironmentId, NewEnvironment, Problem, TargetError};
use flash_text::error_chain;
use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    cipher::Cipher,
    database::{Database, DatabaseError, StoredEnvironment},
    directory::DataDirectory,
};
use crate::report::SharedReport;
pub(super) use change::Steps;
use running::Running;

/// Ports of environments made without one.
const PORTS: std::ops::RangeInclusive<u16> = 8900..=9899;
/// The interval between looks at what was spent.
const COST_INTERVAL: Duration = Duration::from_secs(1);

/// All environments. Cheap to clone.
#[derive(Clone)]
pub(super) struct Environments {
    shared: Arc<Shared>,
}

struct Shared {
    directory: DataDirectory,
    database: Database,
    cipher: Cipher,
    /// Shared by all environments.
    machine: Machine,
    running: Mutex<BTreeMap<EnvironmentId, Arc<Running>>>,
    /// Held while an environment is made or removed.
    list: tokio::sync::Mutex<()>,
    /// Held while keys are passed to the platforms, so that the latest keys are passed last.
    rings: tokio::sync::Mutex<()>,
    /// No environment is restarted any more.
    closing: CancellationToken,
    tasks: TaskTracker,
    report: SharedReport,
}

/// Runs blocking work on a thread for it.
async fn blocking<T: Send + 'static, E: Into<TargetError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, TargetError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(TargetError::new(Problem::Failed, "the service failed during the request")
            .hint("see service.log in the service's data directory")),
    }
}

impl Environments {
    /// Opens the data and starts what should run.
    pub(super) async fn open(directory: DataDirectory, report: SharedReport) -> Result<Self, TargetError> {
        let opened = {
            let directory = directory.clone();
            blocking(move || -> Result<_, TargetError> {
                let database = Database::open(&directory.database())?;
                database.fail_starting("the service ended while the release was starting")?;
                let cipher = Cipher::open(&directory.secret_key(), database.has_sealed()?)
                    .map_err(|error| TargetError::new(Problem::Failed, error_chain(&error)))?;
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
        let machine =
            Machine::start(LimitScope::All, Listeners::Several, move |text| warnings.warning(&text))
                .map_err(|error| TargetError::new(Problem::Failed, error_chain(&error)))?;
        let environments = Self {
            shared: Arc::new(Shared {
                directory,
                database,
                cipher,
                machine,
                running: Mutex::default(),
                list: tokio::sync::Mutex::default(),
                rings: tokio::sync::Mutex::default(),
                closing: CancellationToken::new(),
                tasks: TaskTracker::new(),
                report,
            }),
        };
        for stored in stored {
            let id = stored.id.clone();
            if let Err(error) = environments.host(stored).await {
                // The others continue; this one is missing until the next start.
                environments.shared.report.warning(&format!("{id}: {error}"));
            }
        }
        // Before anything listens, so that a valid key is never rejected.
        environments.hand_out_keys().await?;
        for running in environments.all() {
            environments.spawn_revival(running);
        }
        environments.shared.tasks.spawn(environments.clone().record_costs_until_closed());
        Ok(environments)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<EnvironmentId, Arc<Running>>> {
        self.shared.running.lock()
    }

    /// All environments, by app and name.
    fn all(&self) -> Vec<Arc<Running>> {
        self.running().values().cloned().collect()
    }

    fn find(&self, id: &EnvironmentId) -> Result<Arc<Running>, TargetError> {
        self.running().get(id).cloned().ok_or_else(|| {
            TargetError::new(Problem::NotFound, format!("`{}` has no environment `{}`", id.app, id.name))
                .hint("to list them: flash deploy list")
        })
    }

    /// Queries the database on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Database) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, TargetError> {
        let database = self.shared.database.clone();
        blocking(move || question(&database)).await
    }

    /// Adds an environment to the list, without a platform yet.
    async fn host(&self, stored: StoredEnvironment) -> Result<Arc<Running>, TargetError> {
        let directory = self.shared.directory.environment(&stored.id);
        let running = blocking(move || Running::new(stored, directory)).await?;
        let running = Arc::new(running);
        self.running().insert(running.stored.id.clone(), running.clone());
        Ok(running)
    }

    fn spawn_revival(&self, running: Arc<Running>) {
        self.shared.tasks.spawn(self.clone().restart(running));
    }

    /// Makes an environment and its first key. It listens at once, and answers that nothing is deployed.
    pub(super) async fn create(&self, new: NewEnvironment) -> Result<Created, TargetError> {
        check_name(&new.id)?;
        let _alone = self.shared.list.lock().await;
        let id = new.id.clone();
        if self.ask(move |database| database.has_environment(&id)).await? {
            return Err(exists(&new.id));
        }
        let listen = new.listen.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let (listener, port) = self.free_port(listen, new.port).await?;
        let directory = self.shared.directory.environment(&new.id);
        let id = new.id.clone();
        let stored = self
            .ask(move |database| {
                // Left by an environment that was only partly removed.
                let _ = std::fs::remove_dir_all(directory.path());
                database.add_environment(&new, listen, port)
            })
            .await?;
        let key = stored.key;
        let made = async {
            let running = self.host(stored).await?;
            self.start_platform(&running, listener).await?;
            self.add_key(&running, "first").await
        };
        match made.await {
            Ok(key) => {
                self.hand_out_keys().await?;
                Ok(Created { environment: self.environment(&id).await?, key: Some(key) })
            }
            Err(error) => {
                // Undo everything; if that fails too, report the first error.
                let running = self.running().remove(&id);
                if let Some(running) = running {
                    running.end().await;
                }
                let directory = self.shared.directory.environment(&id);
                let _ = self
                    .ask(move |database| {
                        let _ = std::fs::remove_dir_all(directory.path());
                        database.remove_environment(key)
                    })
                    .await;
                Err(error)
            }
        }
    }

    /// The requested port, or the first free one that no other environment has.
    async fn free_port(
        &self,
        listen: IpAddr,
        wished: Option<u16>,
    ) -> Result<(TcpListener, u16), TargetError> {
        let taken: Vec<u16> = self.all().iter().map(|running| running.stored.port).collect();
        let mut last = None;
        for port in wished.map_or(PORTS, |port| port..=port).filter(|port| *port > 0) {
            if taken.contains(&port) {
                last = Some(format!("port {port} belongs to another environment"));
                continue;
            }
            match TcpListener::bind((listen, port)).await {
                Ok(listener) => return Ok((listener, port)),
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    let message = format!("`{listen}` is not an address of this machine");
                    return Err(TargetError::new(Problem::Refused, message));
                }
                Err(error) => {
                    let holder = blocking(move || Ok::<_, TargetError>(holder_of(port))).await?;
                    let holder = holder.map_or(String::new(), |holder| format!("; it is held by {holder}"));
                    last = Some(format!("cannot listen on {listen}, port {port}: {error}{holder}"));
                }
            }
        }
        let reason = last.unwrap_or_else(|| "port 0 cannot be kept".to_owned());
        Err(TargetError::new(Problem::Failed, reason).hint("choose a free port: --port PORT"))
    }

    /// Stops an environment and deletes everything that belongs to it.
    pub(super) async fn remove(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        let running = self.find(id)?;
        let _change = running.begin().await?;
        let _alone = self.shared.list.lock().await;
        let key = running.stored.key;
        // First: if this is interrupted, only a directory is left, which the next start deletes. If this fails,
        // nothing has changed.
        self.ask(move |database| database.remove_environment(key)).await?;
        running.end().await;
        let directory = running.directory.clone();
        let deleted = blocking(move || -> Result<(), TargetError> {
            // Stays while the app has other environments.
            let leave_app = || directory.path().parent().map(std::fs::remove_dir);
            std::fs::remove_dir_all(directory.path()).or_else(missing_is_fine).map_err(|error| {
                let path = directory.path().display();
                TargetError::new(
                    Problem::Failed,
                    format!("cannot delete {path} until the next start: {error}"),
                )
            })?;
            let _ = leave_app();
            Ok(())
        });
        if let Err(error) = deleted.await {
            self.shared.report.warning(&format!("{id}: {error}"));
        }
        self.running().remove(id);
        self.hand_out_keys().await
    }

    /// Whether ending now would interrupt nobody.
    pub(super) async fn has_nothing_to_lose(&self) -> bool {
        for running in self.all() {
            let serves = running.platform().is_some_and(|platform| {
                let overview = platform.overview();
                overview.live.is_some() || !overview.draining.is_empty()
            });
            let key = running.stored.key;
            // An environment that should be live counts as if it were, and so does one whose state is unknown.
            let should_serve =
                async || !matches!(self.ask(move |database| database.live_number(key)).await, Ok(None));
            if serves || running.is_changing() || should_serve().await {
                return false;
            }
        }
        true
    }

    /// The number of file descriptors left for other listeners.
    pub(super) fn share(&self) -> ConnectionShare {
        self.shared.machine.share()
    }

    /// Stops everything: running work gets its drain time, jobs and releases stay for the next start.
    pub(super) async fn stop(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        let all = self.all();
        futures_util::future::join_all(all.iter().map(|running| running.stop())).await;
        for running in &all {
            self.record_costs(running).await;
            running.close_logs().await;
        }
        // Running changes notice that their platform has ended.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.shared.tasks.wait()).await;
        self.shared.machine.end(Duration::from_secs(5)).await;
    }
}

/// The app's name is part of paths; a package's name is always valid.
fn check_name(id: &EnvironmentId) -> Result<(), TargetError> {
    let app = &id.app;
    let is_name = (1..=100).contains(&app.len())
        && app.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !is_name {
        let message = format!("`{app}` is not a valid app name; expected letters, digits, `-` and `_`");
        return Err(TargetError::new(Problem::Refused, message));
    }
    EnvironmentId::new(app, &id.name)
        .map(|_| ())
        .map_err(|error| TargetError::new(Problem::Refused, error.to_string()))
}

fn exists(id: &EnvironmentId) -> TargetError {
    TargetError::new(Problem::Exists, format!("`{}` already has an environment `{}`", id.app, id.name))
        .hint(format!("see it: flash deploy info {}", id.name))
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
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

#[cfg(test)]
mod tests;
