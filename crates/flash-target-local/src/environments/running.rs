//! One environment while the service runs.
use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use flash_platform::{CostTotals, KeyRing, Platform, Secret};
use flash_target::{Problem, RuntimeSettings, TargetError, now_ms};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::{
    cipher::write_whole, database::StoredEnvironment, directory::EnvironmentDirectory, logs::Logs, utc::utc,
};

/// How long a change waits for an environment that is being restarted.
const RESTART_LIMIT: Duration = Duration::from_secs(150);

/// See the module.
pub(super) struct Running {
    pub stored: StoredEnvironment,
    pub directory: EnvironmentDirectory,
    pub ring: Arc<KeyRing>,
    pub logs: Logs,
    pub webhook_secret: Secret,
    change: Mutex<ChangeOwner>,
    /// A change has ended.
    changed: Notify,
    state: Mutex<RunState>,
    /// The part of the platform's counts that is already recorded.
    pub recorded_costs: Mutex<CostTotals>,
    /// Held while that is brought up to date.
    pub cost_lock: tokio::sync::Mutex<()>,
    /// Whether its dashboard hides inputs and outputs: as the live release says.
    pub hides_values: Arc<AtomicBool>,
    /// It was removed and is not restarted.
    pub gone: CancellationToken,
}

/// Its state.
#[derive(Clone)]
pub(super) enum RunState {
    /// Nothing listens.
    Down { reason: String },
    /// It listens.
    Up {
        platform: Platform,
        /// The options the platform was started with.
        runtime: RuntimeSettings,
        /// Why the release that should be live is not.
        trouble: Option<String>,
    },
}

/// Who is changing the environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum ChangeOwner {
    #[default]
    Nobody,
    /// A request, since this time.
    User(u64),
    /// The service itself: it restarts the environment, or cleans up.
    Service,
}

/// While this exists, nobody else changes the environment.
pub(super) struct Change<'a> {
    of: &'a Running,
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        *self.of.change() = ChangeOwner::Nobody;
        self.of.changed.notify_waiters();
    }
}

impl Running {
    /// Not listening yet. Blocks.
    pub(super) fn new(
        stored: StoredEnvironment,
        directory: EnvironmentDirectory,
    ) -> Result<Self, TargetError> {
        let problem = |error: io::Error| {
            let path = directory.path().display();
            TargetError::new(Problem::Failed, format!("cannot use the directory {path}"))
                .because(error)
                .hint("free space or make it writable, then: flash service restart")
        };
        directory.make().map_err(problem)?;
        let logs = Logs::open(&directory.logs()).map_err(problem)?;
        let webhook_secret = webhook_secret(&directory)?;
        Ok(Self {
            stored,
            directory,
            ring: Arc::new(KeyRing::new()),
            logs,
            webhook_secret,
            change: Mutex::default(),
            changed: Notify::new(),
            state: Mutex::new(RunState::Down { reason: "it is starting".to_owned() }),
            recorded_costs: Mutex::default(),
            cost_lock: tokio::sync::Mutex::default(),
            hides_values: Arc::default(),
            gone: CancellationToken::new(),
        })
    }

    fn change(&self) -> MutexGuard<'_, ChangeOwner> {
        self.change.lock()
    }

    /// Begins a requested change. While the environment is being restarted, waits for that, so that a request right
    /// after a crash succeeds.
    ///
    /// # Errors
    /// While another change is running.
    pub(super) async fn begin(&self) -> Result<Change<'_>, TargetError> {
        let until = tokio::time::Instant::now() + RESTART_LIMIT;
        loop {
            let changed = self.changed.notified();
            let reason = match self.try_begin(ChangeOwner::User(now_ms())) {
                Ok(_) if self.gone.is_cancelled() => {
                    let message = format!("{} was removed", self.stored.id);
                    return Err(TargetError::new(Problem::NoEnvironment, message)
                        .hint("to list them: flash deploy list"));
                }
                Ok(change) => return Ok(change),
                Err(ChangeOwner::User(since)) => format!("has been running since {}", utc(since)),
                Err(_) if tokio::time::timeout_at(until, changed).await.is_ok() => continue,
                Err(_) => format!("is running: it has been restarting for {} s", RESTART_LIMIT.as_secs()),
            };
            let message = format!("another change of {} {reason}", self.stored.id);
            return Err(TargetError::new(Problem::Moved, message).hint("wait until it ends, then try again"));
        }
    }

    /// Begins a change by the service itself; `None` while there is another one, and after the environment's
    /// removal.
    pub(super) fn begin_own(&self) -> Option<Change<'_>> {
        self.try_begin(ChangeOwner::Service).ok().filter(|_| !self.gone.is_cancelled())
    }

    /// Whether a change is running.
    pub(super) fn is_changing(&self) -> bool {
        *self.change() != ChangeOwner::Nobody
    }

    fn try_begin(&self, who: ChangeOwner) -> Result<Change<'_>, ChangeOwner> {
        let mut change = self.change();
        match *change {
            ChangeOwner::Nobody => {
                *change = who;
                Ok(Change { of: self })
            }
            other => Err(other),
        }
    }

    /// Its state.
    pub(super) fn state(&self) -> RunState {
        self.state.lock().clone()
    }

    pub(super) fn set_state(&self, state: RunState) {
        *self.state.lock() = state;
    }

    /// Sets why nothing is served; `None`: it is served again.
    pub(super) fn set_trouble(&self, reason: Option<String>) {
        match &mut *self.state.lock() {
            RunState::Up { trouble, .. } => *trouble = reason,
            RunState::Down { reason: old } => {
                if let Some(reason) = reason {
                    *old = reason;
                }
            }
        }
    }

    pub(super) fn platform(&self) -> Option<Platform> {
        match self.state() {
            RunState::Up { platform, .. } => Some(platform),
            RunState::Down { .. } => None,
        }
    }

    /// The address it listens on, or would.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.stored.listen, self.stored.port)
    }

    /// The URL on this machine.
    pub(super) fn url(&self) -> String {
        let address = self.address();
        if address.ip().is_unspecified() {
            format!("http://127.0.0.1:{}", address.port())
        } else {
            format!("http://{address}")
        }
    }

    /// Stops the platform; running work gets its drain time.
    pub(super) async fn stop(&self) {
        if let Some(platform) = self.platform() {
            platform.stop().await;
        }
    }

    /// Stops it at once, for good.
    pub(super) async fn end(&self) {
        self.gone.cancel();
        if let Some(platform) = self.platform() {
            platform.end_now().await;
        }
        self.set_state(RunState::Down { reason: "it is being removed".to_owned() });
        self.close_logs().await;
    }

    /// Waits until all log lines are written.
    pub(super) async fn close_logs(&self) {
        let logs = self.logs.clone();
        // The only error would be a panic, which is in the service's own log.
        let _ = tokio::task::spawn_blocking(move || logs.close()).await;
    }
}

/// The secret that signs this environment's webhooks, made at first use.
fn webhook_secret(directory: &EnvironmentDirectory) -> Result<Secret, TargetError> {
    let path = directory.webhook_secret();
    let problem = || TargetError::new(Problem::Failed, format!("cannot use {}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(text) => Secret::parse(&text).map_err(|error| problem().because(error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = Secret::random();
            write_whole(&path, secret.reveal().as_bytes()).map_err(|error| problem().because(error))?;
            Ok(secret)
        }
        Err(error) => Err(problem().because(error)),
    }
}

/// Versions of secrets, by name.
pub(super) type Versions = BTreeMap<String, u64>;
