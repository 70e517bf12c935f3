//! The environments of this machine while the service runs: each with a platform of its own.
//!
//! Owns their life: made, brought back after an end of the service, removed. Changes of what is live are in
//! `change`, what is told of them in `view`, keys and secrets in `access`, sums of costs in `books`. The database is
//! the truth: what runs is made to fit it.
mod access;
mod books;
mod change;
mod revive;
mod running;
mod view;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Limiting, Listeners, Machine, Share,
    cipher::Cipher,
    database::{Database, DatabaseError, StoredEnvironment},
    directory::DataDirectory,
};
use crate::{
    error_chain::error_chain,
    output::Output,
    port_holder::holder_of,
    target::{Created, EnvironmentId, NewEnvironment, Problem, TargetError},
};
pub(super) use change::Steps;
use running::Running;

/// Ports of environments that were given none.
const PORTS: std::ops::RangeInclusive<u16> = 8900..=9899;
/// Between two looks at what was spent.
const BOOKING: Duration = Duration::from_secs(1);

/// All environments. Cheap to share.
#[derive(Clone)]
pub(super) struct Environments {
    shared: Arc<Shared>,
}

struct Shared {
    directory: DataDirectory,
    database: Database,
    cipher: Cipher,
    /// All of them share it.
    machine: Machine,
    running: Mutex<BTreeMap<EnvironmentId, Arc<Running>>>,
    /// Taken while an environment is made or removed.
    list: tokio::sync::Mutex<()>,
    /// Taken while keys are handed to the platforms: the latest are handed out last.
    rings: tokio::sync::Mutex<()>,
    /// No environment is brought back any more.
    closing: CancellationToken,
    tasks: TaskTracker,
    output: Output,
}

/// Does what blocks on a thread for that.
async fn blocking<T: Send + 'static, E: Into<TargetError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, TargetError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(TargetError::new(Problem::Failed, "the service failed in the midst of this")
            .hint("see service.log in the service's data directory")),
    }
}

impl Environments {
    /// Opens the data and brings back what should run.
    pub(super) async fn open(directory: DataDirectory, output: Output) -> Result<Self, TargetError> {
        let opened = {
            let directory = directory.clone();
            blocking(move || -> Result<_, TargetError> {
                let database = Database::open(&directory.database())?;
                database.fail_starting("the service ended while it started")?;
                let cipher = Cipher::open(&directory.secret_key(), database.has_sealed()?)
                    .map_err(|error| TargetError::new(Problem::Failed, error_chain(&error)))?;
                let stored = database.environments()?;
                // Of one that cannot be read nobody knows which directory it has.
                if database.damaged(None).is_empty() {
                    delete_removed(&directory, &stored);
                }
                Ok((database, cipher, stored))
            })
            .await?
        };
        let (database, cipher, stored) = opened;
        let told = output.clone();
        let machine = Machine::start(Limiting::All, Listeners::Several, move |text| told.warning(&text))
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
                output,
            }),
        };
        for stored in stored {
            let id = stored.id.clone();
            if let Err(error) = environments.host(stored).await {
                // The others go on; this one is not there until the next start.
                environments.shared.output.warning(&format!("{id}: {error}"));
            }
        }
        // Before anything listens: a right key is never refused.
        environments.hand_out_keys().await?;
        for running in environments.all() {
            environments.spawn_revival(running);
        }
        environments.shared.tasks.spawn(environments.clone().keep_books());
        Ok(environments)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<EnvironmentId, Arc<Running>>> {
        self.shared.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, by app and name.
    fn all(&self) -> Vec<Arc<Running>> {
        self.running().values().cloned().collect()
    }

    fn find(&self, id: &EnvironmentId) -> Result<Arc<Running>, TargetError> {
        self.running().get(id).cloned().ok_or_else(|| {
            TargetError::new(Problem::NotFound, format!("`{}` has no environment `{}`", id.app, id.name))
                .hint("see which there are: flash deploy list")
        })
    }

    /// Asks the database, on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Database) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, TargetError> {
        let database = self.shared.database.clone();
        blocking(move || question(&database)).await
    }

    /// Puts an environment in the list, without a platform yet.
    async fn host(&self, stored: StoredEnvironment) -> Result<Arc<Running>, TargetError> {
        let directory = self.shared.directory.environment(&stored.id);
        let running = blocking(move || Running::new(stored, directory)).await?;
        let running = Arc::new(running);
        self.running().insert(running.stored.id.clone(), running.clone());
        Ok(running)
    }

    fn spawn_revival(&self, running: Arc<Running>) {
        self.shared.tasks.spawn(self.clone().revive(running));
    }

    /// Makes an environment with its first key. It listens at once, and answers that nothing is deployed.
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
                // Of an environment that was removed half.
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
                // As if nothing had been asked; when even that fails, the first error is the one to tell.
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

    /// The port that was asked for, or the first that is free and no other environment's.
    async fn free_port(
        &self,
        listen: IpAddr,
        wished: Option<u16>,
    ) -> Result<(TcpListener, u16), TargetError> {
        let taken: Vec<u16> = self.all().iter().map(|running| running.stored.port).collect();
        let mut last = None;
        for port in wished.map_or(PORTS, |port| port..=port).filter(|port| *port > 0) {
            if taken.contains(&port) {
                last = Some(format!("port {port} is another environment's"));
                continue;
            }
            match TcpListener::bind((listen, port)).await {
                Ok(listener) => return Ok((listener, port)),
                Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                    let message = format!("`{listen}` is no address of this machine");
                    return Err(TargetError::new(Problem::Refused, message));
                }
                Err(error) => {
                    let holder = blocking(move || Ok::<_, TargetError>(holder_of(port))).await?;
                    let holder = holder.map_or(String::new(), |holder| format!("; it is held by {holder}"));
                    last = Some(format!("cannot listen on {listen}, port {port}: {error}{holder}"));
                }
            }
        }
        let reason = last.unwrap_or_else(|| "0 is no port for keeps".to_owned());
        Err(TargetError::new(Problem::Failed, reason).hint("choose a free one: --port PORT"))
    }

    /// Ends an environment and deletes all that belongs to it.
    pub(super) async fn remove(&self, id: &EnvironmentId) -> Result<(), TargetError> {
        let running = self.find(id)?;
        let _change = running.begin().await?;
        let _alone = self.shared.list.lock().await;
        let key = running.stored.key;
        // First: whatever ends this in the midst leaves a directory only, and the next start deletes it. When this
        // cannot be done, nothing has changed.
        self.ask(move |database| database.remove_environment(key)).await?;
        running.end().await;
        let directory = running.directory.clone();
        let deleted = blocking(move || -> Result<(), TargetError> {
            // Stays while other environments of the app are there.
            let leave_app = || directory.path().parent().map(std::fs::remove_dir);
            std::fs::remove_dir_all(directory.path()).or_else(missing_is_fine).map_err(|error| {
                let path = directory.path().display();
                TargetError::new(Problem::Failed, format!("{path} stays until the next start: {error}"))
            })?;
            let _ = leave_app();
            Ok(())
        });
        if let Err(error) = deleted.await {
            self.shared.output.warning(&format!("{id}: {error}"));
        }
        self.running().remove(id);
        self.hand_out_keys().await
    }

    /// Whether ending now would cut nobody off.
    pub(super) async fn has_nothing_to_lose(&self) -> bool {
        for running in self.all() {
            let serves = running.platform().is_some_and(|platform| {
                let overview = platform.overview();
                overview.live.is_some() || !overview.draining.is_empty()
            });
            let key = running.stored.key;
            // What should be live counts as if it were; so does what nobody can tell.
            let should_serve =
                async || !matches!(self.ask(move |database| database.live_number(key)).await, Ok(None));
            if serves || running.is_changing() || should_serve().await {
                return false;
            }
        }
        true
    }

    /// What a listener beside those of the environments may hold of this process.
    pub(super) fn share(&self) -> Share {
        self.shared.machine.share()
    }

    /// Ends everything: running work gets its drain time, jobs and releases stay for the next start.
    pub(super) async fn stop(&self) {
        self.shared.closing.cancel();
        self.shared.tasks.close();
        let all = self.all();
        futures_util::future::join_all(all.iter().map(|running| running.stop())).await;
        for running in &all {
            self.book(running).await;
            running.close_logs().await;
        }
        // Changes that were under way see that their platform has ended.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.shared.tasks.wait()).await;
        self.shared.machine.end(Duration::from_secs(5)).await;
    }
}

/// The app's name stands in paths; a package's name is always one of these.
fn check_name(id: &EnvironmentId) -> Result<(), TargetError> {
    let app = &id.app;
    let is_name = (1..=100).contains(&app.len())
        && app.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !is_name {
        let message =
            format!("`{app}` cannot be the name of an app: letters, digits, `-` and `_` are expected");
        return Err(TargetError::new(Problem::Refused, message));
    }
    EnvironmentId::new(app, &id.name)
        .map(|_| ())
        .map_err(|error| TargetError::new(Problem::Refused, error.to_string()))
}

fn exists(id: &EnvironmentId) -> TargetError {
    TargetError::new(Problem::Exists, format!("`{}` has an environment `{}` already", id.app, id.name))
        .hint(format!("see it: flash deploy info {}", id.name))
}

fn missing_is_fine(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Deletes directories of environments that were removed: what an earlier service had no time for.
fn delete_removed(directory: &DataDirectory, stored: &[StoredEnvironment]) {
    let kept: Vec<_> =
        stored.iter().map(|stored| directory.environment(&stored.id).path().to_owned()).collect();
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten();
    for app in entries(&directory.path().join("environments")) {
        for environment in entries(&app.path()).filter(|entry| !kept.contains(&entry.path())) {
            // What cannot be deleted now is tried again at the next start.
            let _ = std::fs::remove_dir_all(environment.path());
        }
        // Stays while environments of the app are there.
        let _ = std::fs::remove_dir(app.path());
    }
}

#[cfg(test)]
mod tests;
