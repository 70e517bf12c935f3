//! The service as a process, seen from commands: found, started, stopped.
//!
//! What is said here has been seen: started means that it answers, stopped that nobody holds its locks.
use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::{fs::OpenOptionsExt as _, process::CommandExt as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::Instant;

use super::{
    client::Connection,
    directory::{DATA_DIRECTORY, DataDirectory},
    lock, service, systemd,
    wire::{Hello, Manager, ServiceStatus},
};
use crate::target::{Problem, TargetError};

/// How long the service may take until it answers.
const START_TIME: Duration = Duration::from_secs(30);
/// How long it may take to end: running work gets its drain time.
const STOP_TIME: Duration = Duration::from_secs(60);
/// How long the kernel may take to end what was killed.
const KILL_TIME: Duration = Duration::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);
/// What the service has printed beyond this is not kept over a start.
const LOG_LIMIT: u64 = 10 << 20;
/// As much as is shown of what it printed before it failed.
const SHOWN_LINES: usize = 20;

/// Variables of the starter that the service, and with it every worker, inherits. The rest, such as keys that happen
/// to be set in a shell, stays behind.
const INHERITED: [&str; 20] = [
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
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "RUST_BACKTRACE",
];

/// How a service was found.
#[derive(Debug, Clone)]
pub(crate) enum Started {
    /// It did not run before.
    Now(Hello),
    Already(Hello),
}

impl Started {
    pub(crate) fn hello(&self) -> &Hello {
        match self {
            Self::Now(hello) | Self::Already(hello) => hello,
        }
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// It did not run.
    Already,
    /// All by itself.
    Clean,
    /// It took too long and was killed.
    Killed,
}

/// What the service hosts; `None` when it does not run.
pub(crate) async fn status(directory: &DataDirectory) -> Result<Option<ServiceStatus>, TargetError> {
    let connection = Connection::new(directory)?;
    match connection.hello().await? {
        None => Ok(None),
        Some(hello) => {
            same_version(&hello)?;
            connection.service().await.map(Some)
        }
    }
}

/// Finds the service or starts it. One of another version that has nothing to lose makes way for this one.
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
    let message = format!("the background service is flash {}, and this is flash {own}", hello.version);
    Err(TargetError::new(Problem::Refused, message)
        .hint("have this version serve (running work ends first): flash service restart"))
}

/// Starts the service where it does not run, and waits until it answers.
pub(crate) async fn start(directory: &DataDirectory) -> Result<Started, TargetError> {
    let connection = Connection::new(directory)?;
    if let Some(hello) = connection.hello().await? {
        return Ok(Started::Already(hello));
    }
    let printed = prepare_log(directory)?;
    let mut child = match systemd::unit_of(directory) {
        Some(unit) => {
            unit.start().await?;
            None
        }
        None => Some(spawn(directory)?),
    };
    let until = Instant::now() + START_TIME;
    loop {
        if let Some(hello) = connection.hello().await? {
            return Ok(Started::Now(hello));
        }
        let ended = match &mut child {
            Some(child) => child.try_wait().map_err(|error| not_started(&error.to_string()))?,
            None => None,
        };
        if let Some(status) = ended {
            child = None;
            // Another one is there already, and is about to answer.
            if status.code() != Some(service::ANOTHER_RUNS) {
                let error = not_started("it ended at once");
                return Err(TargetError { last_lines: last_lines(directory, printed), ..error });
            }
        }
        if Instant::now() > until {
            let error = not_started(&format!("it does not answer within {} s", START_TIME.as_secs()));
            return Err(TargetError { last_lines: last_lines(directory, printed), ..error });
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

fn not_started(reason: &str) -> TargetError {
    TargetError::new(Problem::Unreachable, format!("the background service does not start: {reason}"))
        .hint("do what its last lines say, then: flash service start")
}

/// Makes the log and says how long it is.
fn prepare_log(directory: &DataDirectory) -> Result<u64, TargetError> {
    let path = directory.log();
    let problem = |error: io::Error| {
        TargetError::new(Problem::Failed, format!("cannot write {}: {error}", path.display()))
            .hint(format!("make room and make it writable, or set {DATA_DIRECTORY} to another directory"))
    };
    let file = open_log(directory).map_err(problem)?;
    let length = file.metadata().map_err(problem)?.len();
    if length > LOG_LIMIT {
        file.set_len(0).map_err(problem)?;
        return Ok(0);
    }
    Ok(length)
}

fn open_log(directory: &DataDirectory) -> io::Result<File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(directory.log())
}

fn last_lines(directory: &DataDirectory, from: u64) -> Vec<String> {
    let read = || -> io::Result<String> {
        let mut file = File::open(directory.log())?;
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(LOG_LIMIT).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(SHOWN_LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

/// Starts a supervisor that outlives this command and its terminal.
fn spawn(directory: &DataDirectory) -> Result<Child, TargetError> {
    let problem = |error: io::Error| not_started(&error.to_string());
    let log = open_log(directory).map_err(problem)?;
    let mut command = Command::new(std::env::current_exe().map_err(problem)?);
    let inherited = std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| INHERITED.contains(&name) || name.starts_with("LC_"))
    });
    command
        .args([service::ARGUMENT, service::SUPERVISE])
        .env_clear()
        .envs(inherited)
        .env(DATA_DIRECTORY, directory.path())
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().map_err(problem)?)
        .stderr(log);
    // SAFETY: between fork and exec only setsid is called, which is async-signal-safe; nothing is allocated.
    unsafe {
        command.pre_exec(|| {
            nix::unistd::setsid()?;
            Ok(())
        });
    }
    command.spawn().map_err(problem)
}

/// Ends the service, and waits until it has ended.
pub(crate) async fn stop(directory: &DataDirectory) -> Result<Stopped, TargetError> {
    // One that does not answer is ended all the same.
    let hello = Connection::new(directory)?.hello().await.unwrap_or_default();
    if hello.is_none() && !runs(directory)? {
        return Ok(Stopped::Already);
    }
    let manager = hello.as_ref().map_or(Manager::Supervisor, |hello| hello.manager);
    match (manager, systemd::unit_of(directory)) {
        (Manager::Systemd, Some(unit)) => unit.stop().await?,
        _ => {
            let pids = pids(directory, hello.as_ref())?;
            // The supervisor ends its service; without one the service is told itself.
            if let Some(pid) = pids.first() {
                signal(*pid, Signal::SIGTERM);
            }
        }
    }
    if ended(directory, STOP_TIME).await? {
        return Ok(Stopped::Clean);
    }
    for pid in pids(directory, hello.as_ref())? {
        signal(pid, Signal::SIGKILL);
    }
    if ended(directory, KILL_TIME).await? {
        return Ok(Stopped::Killed);
    }
    Err(TargetError::new(Problem::Failed, "the background service does not end, not even when it is killed"))
}

/// The supervisor, then the service, as far as they run.
fn pids(directory: &DataDirectory, hello: Option<&Hello>) -> Result<Vec<i32>, TargetError> {
    let supervisor = match is_held(&directory.supervisor_lock())? {
        true => lock::read_pid(&directory.pid_file()),
        false => None,
    };
    let service = match is_held(&directory.service_lock())? {
        true => hello.and_then(|hello| i32::try_from(hello.pid).ok()),
        false => None,
    };
    Ok(supervisor.into_iter().chain(service).collect())
}

fn signal(pid: i32, signal: Signal) {
    // One that has ended meanwhile needs none.
    let _ = kill(Pid::from_raw(pid), signal);
}

fn is_held(path: &std::path::Path) -> Result<bool, TargetError> {
    lock::is_held(path)
        .map_err(|error| TargetError::new(Problem::Failed, format!("cannot use {}: {error}", path.display())))
}

/// Whether a service or a supervisor is there.
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
