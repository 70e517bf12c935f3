//! Finds, starts and stops the service's process, for commands.
//!
//! Everything reported here was observed: started means that it answers, stopped that nobody holds its locks.
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use flash_target::{Problem, TargetError};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::Instant;

use super::{
    connection::Connection,
    directory::{DATA_DIRECTORY, DataDirectory},
    invocation, lock, service_log, systemd,
    wire::{Hello, Manager, ServiceStatus},
};

/// How long the service may take until it answers.
const START_TIME: Duration = Duration::from_secs(30);
/// How long it may take to stop: running work gets its drain time.
const STOP_TIME: Duration = Duration::from_secs(60);
/// How long the kernel may take to end a killed process.
const KILL_TIME: Duration = Duration::from_secs(5);
/// How long a service that does not answer may take to stop.
const HUNG_TIME: Duration = Duration::from_secs(10);
/// The interval between queries to systemd, each of which starts a program.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(500);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// How much of its output is shown when it failed.
const SHOWN_LINES: usize = 20;

/// Variables that the service, and so every worker, inherits from the command that starts it. Others, such as keys
/// that happen to be set in a shell, are dropped.
const INHERITED: [&str; 26] = [
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "PATH",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "XDG_CACHE_HOME",
    "DBUS_SESSION_BUS_ADDRESS",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    // The settings and logins of container engines.
    "CONTAINERS_CONF",
    "CONTAINERS_REGISTRIES_CONF",
    "CONTAINERS_STORAGE_CONF",
    "REGISTRY_AUTH_FILE",
    "DOCKER_CONFIG",
    "DOCKER_HOST",
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "RUST_BACKTRACE",
];

/// How a service was found.
#[derive(Debug, Clone)]
pub enum Started {
    /// It was not running before.
    Now(Hello),
    /// It was running before, perhaps in another version.
    Already(Hello),
}

impl Started {
    /// What the running service said about itself.
    pub fn hello(&self) -> &Hello {
        match self {
            Self::Now(hello) | Self::Already(hello) => hello,
        }
    }
}

/// How it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It was not running.
    Already,
    /// By itself.
    Clean,
    /// It took too long and was killed.
    Killed,
}

/// The service's environments; `None` if it is not running.
pub async fn status(directory: &DataDirectory) -> Result<Option<ServiceStatus>, TargetError> {
    let connection = Connection::new(directory)?;
    match connection.hello().await? {
        None => Ok(None),
        Some(hello) => {
            same_version(&hello)?;
            connection.service().await.map(Some)
        }
    }
}

/// Finds or starts the service. A service of another version with nothing to lose is replaced by this version.
pub(super) async fn ensure(directory: &DataDirectory) -> Result<(), TargetError> {
    let started = start(directory).await?;
    let hello = started.hello();
    if same_version(hello).is_ok() {
        return Ok(());
    }
    if !hello.is_idle {
        return same_version(hello);
    }
    stop(directory).await?;
    let started = start(directory).await?;
    same_version(started.hello())
}

fn same_version(hello: &Hello) -> Result<(), TargetError> {
    let own = env!("CARGO_PKG_VERSION");
    if hello.version == own {
        return Ok(());
    }
    let message =
        format!("the background service has flash version {}, but this is version {own}", hello.version);
    Err(TargetError::new(Problem::Refused, message)
        .hint("switch to this version (running work ends first): flash service restart"))
}

/// Starts the service if it is not running, and waits until it answers.
pub async fn start(directory: &DataDirectory) -> Result<Started, TargetError> {
    let connection = Connection::new(directory)?;
    if let Some(hello) = connection.hello().await? {
        return Ok(Started::Already(hello));
    }
    let printed = prepare_log(directory)?;
    let failed = |reason: String| not_started(reason).last_lines(last_lines(directory, printed));
    let begun = Instant::now();
    // A service that is stopping now may finish first.
    let mut limit = if runs(directory)? { STOP_TIME + START_TIME } else { START_TIME };
    let mut attempt = Attempt::begin(directory).await?;
    loop {
        if let Some(hello) = connection.hello().await? {
            attempt.settle(directory);
            return Ok(Started::Now(hello));
        }
        match attempt.poll().await? {
            StartState::Starting => {}
            // It is about to answer, or about to end.
            StartState::AnotherRuns if runs(directory)? => limit = STOP_TIME + START_TIME,
            StartState::AnotherRuns => attempt = Attempt::begin(directory).await?,
            StartState::Failed(reason) => return Err(failed(reason)),
        }
        if begun.elapsed() > limit {
            return Err(failed(format!("it does not answer within {} s", limit.as_secs())));
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// A start in progress.
enum Attempt {
    /// This supervisor is starting it.
    Supervisor(Child),
    /// A supervisor found another one already there.
    Another,
    Systemd {
        unit: systemd::Unit,
        asked: Instant,
    },
}

/// The progress so far.
enum StartState {
    Starting,
    AnotherRuns,
    Failed(String),
}

impl Attempt {
    async fn begin(directory: &DataDirectory) -> Result<Self, TargetError> {
        match systemd::unit_of(directory) {
            Some(unit) => {
                unit.start().await?;
                Ok(Self::Systemd { unit, asked: Instant::now() })
            }
            None => spawn(directory).map(Self::Supervisor),
        }
    }

    /// Call this once a service answers. If it belongs to another supervisor, ours still waits for the lock: left
    /// alone, it would restart the service after a stop that comes soon.
    fn settle(self, directory: &DataDirectory) {
        let Self::Supervisor(mut child) = self else { return };
        let holder = lock::read_pid(&directory.supervisor_lock());
        if holder.is_some_and(|holder| u32::try_from(holder) != Ok(child.id())) {
            // It has already ended, or has nothing to lose.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    async fn poll(&mut self) -> Result<StartState, TargetError> {
        match self {
            Self::Supervisor(child) => match child.try_wait().map_err(not_started)? {
                None => Ok(StartState::Starting),
                Some(status) if status.code() == Some(invocation::ANOTHER_RUNS) => {
                    *self = Self::Another;
                    Ok(StartState::AnotherRuns)
                }
                Some(_) => Ok(StartState::Failed("it ended at once".to_owned())),
            },
            Self::Another => Ok(StartState::AnotherRuns),
            Self::Systemd { unit, asked } if asked.elapsed() > BETWEEN_QUESTIONS => {
                *asked = Instant::now();
                Ok(unit.failure().await.map_or(StartState::Starting, StartState::Failed))
            }
            Self::Systemd { .. } => Ok(StartState::Starting),
        }
    }
}

fn not_started(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> TargetError {
    TargetError::new(Problem::Unreachable, "cannot start the background service")
        .because(reason)
        .hint("fix the problem shown in its last lines, then: flash service start")
}

/// Makes the log, or a new one if it is full, and returns its length.
fn prepare_log(directory: &DataDirectory) -> Result<u64, TargetError> {
    let path = directory.log();
    let problem = |error: io::Error| {
        TargetError::new(Problem::Failed, format!("cannot write {}", path.display()))
            .because(error)
            .hint(format!("free space and make it writable, or set {DATA_DIRECTORY} to another directory"))
    };
    service_log::prepare(&path).map_err(problem)
}

fn last_lines(directory: &DataDirectory, from: u64) -> Vec<String> {
    let read = || -> io::Result<String> {
        let mut file = File::open(directory.log())?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(2 * service_log::LIMIT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

/// Starts a supervisor that outlives this command and its terminal.
fn spawn(directory: &DataDirectory) -> Result<Child, TargetError> {
    let log = service_log::open(&directory.log()).map_err(not_started)?;
    let mut command = Command::new(std::env::current_exe().map_err(not_started)?);
    let inherited = std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| INHERITED.contains(&name) || name.starts_with("LC_"))
    });
    command
        .args([invocation::ARGUMENT, invocation::SUPERVISE])
        .env_clear()
        .envs(inherited)
        .env(DATA_DIRECTORY, directory.path())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(not_started)?)
        .stderr(log);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe; nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Ok(())
        });
    }
    command.spawn().map_err(not_started)
}

/// Stops the service, and waits until it has ended.
pub async fn stop(directory: &DataDirectory) -> Result<Stopped, TargetError> {
    // A service that does not answer is stopped too, but hardly ends by itself.
    let (hello, timeout) = match Connection::new(directory)?.hello().await {
        Ok(hello) => (hello, STOP_TIME),
        Err(_) => (None, HUNG_TIME),
    };
    if hello.is_none() && !runs(directory)? {
        return Ok(Stopped::Already);
    }
    let manager = match &hello {
        Some(hello) => hello.manager,
        None if is_held(&directory.supervisor_lock())? => Manager::Supervisor,
        None => Manager::Systemd,
    };
    let mut forced = systemd::Forced::No;
    match (manager, systemd::unit_of(directory)) {
        (Manager::Systemd, Some(unit)) => forced = unit.stop().await?,
        _ => {
            let pids = pids(directory)?;
            // The supervisor stops its service; without a supervisor the service gets the signal.
            if let Some(pid) = pids.first() {
                signal(*pid, Signal::SIGTERM);
            }
        }
    }
    if ended(directory, timeout).await? {
        return Ok(match forced {
            systemd::Forced::Yes => Stopped::Killed,
            systemd::Forced::No => Stopped::Clean,
        });
    }
    for pid in pids(directory)? {
        signal(pid, Signal::SIGKILL);
    }
    if ended(directory, KILL_TIME).await? {
        return Ok(Stopped::Killed);
    }
    Err(TargetError::new(Problem::Failed, "the background service does not stop, even when killed"))
}

/// The supervisor, then the service, if they run.
fn pids(directory: &DataDirectory) -> Result<Vec<i32>, TargetError> {
    let mut pids = Vec::new();
    for lock in [directory.supervisor_lock(), directory.service_lock()] {
        if is_held(&lock)? {
            pids.extend(lock::read_pid(&lock));
        }
    }
    Ok(pids)
}

fn signal(pid: i32, signal: Signal) {
    // A process that has ended in the meantime needs no signal.
    let _ = kill(Pid::from_raw(pid), signal);
}

fn is_held(path: &std::path::Path) -> Result<bool, TargetError> {
    let problem = || TargetError::new(Problem::Failed, format!("cannot use {}", path.display()));
    lock::is_held(path).map_err(|error| problem().because(error))
}

/// Whether a service or a supervisor is running.
fn runs(directory: &DataDirectory) -> Result<bool, TargetError> {
    Ok(is_held(&directory.supervisor_lock())? || is_held(&directory.service_lock())?)
}

async fn ended(directory: &DataDirectory, within: Duration) -> Result<bool, TargetError> {
    let until = Instant::now() + within;
    while runs(directory)? {
        if Instant::now() > until {
            return Ok(false);
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(true)
}
