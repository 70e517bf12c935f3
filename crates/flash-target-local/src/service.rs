//! The service's own process: `flash __service`, started by commands and never typed.
//!
//! `flash __service` runs the environments; `flash __service systemd` is the same, started by systemd; `flash
//! __service supervise` keeps the first one running where there is no systemd.
use std::{fmt, process::ExitCode, sync::Arc, time::Duration};

use flash_platform::Cluster;
use flash_target::{Problem, TargetError, now_ms};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    directory::DataDirectory,
    environments::Environments,
    invocation::{ANOTHER_RUNS, CANNOT_START, End, SUPERVISE, SYSTEMD},
    lock::{self, Lock},
    server::{self, ControlKey, ControlListener, ServiceState},
    service_log::{Role, Rotation},
    stop_signals::StopSignals,
    supervise,
    wire::Manager,
};
use crate::report::SharedReport;

/// How long to wait for a stopping service before giving up: as long as a stop may take.
const LOCK_TIME: Duration = Duration::from_secs(70);
/// How long open answers may take at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// Runs the service until it is told to stop.
pub fn service_main(report: &SharedReport) -> ExitCode {
    let mode = std::env::args().nth(2);
    let ended = match mode.as_deref() {
        None => serve(Manager::Supervisor, report),
        Some(SYSTEMD) => serve(Manager::Systemd, report),
        Some(SUPERVISE) => supervise::supervise(report),
        Some(_) => Err(TargetError::new(Problem::Refused, "this argument is for internal use").into()),
    };
    let code = match ended {
        Ok(()) => return ExitCode::SUCCESS,
        Err(End::AnotherRuns) => ANOTHER_RUNS,
        Err(End::Failed(error)) => {
            let text = error.text();
            report.error(&match &error.hint {
                Some(hint) => format!("{text}\n  hint: {hint}"),
                None => text,
            });
            CANNOT_START
        }
    };
    report.flush();
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn serve(manager: Manager, report: &SharedReport) -> Result<(), End> {
    // It holds keys and secrets, and starts other people's code as the same user.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
    let directory = DataDirectory::of_user()?;
    let problem = |what: &str, error: std::io::Error| {
        TargetError::new(Problem::Failed, format!("{what} {}", directory.path().display())).because(error)
    };
    let lock = Lock::take(&directory.service_lock(), LOCK_TIME);
    let lock = lock.map_err(|error| problem("cannot lock", error))?.ok_or(End::AnotherRuns)?;
    if manager == Manager::Systemd {
        lock::write_pid(&directory.pid_file()).map_err(|error| problem("cannot write to", error))?;
    }
    let runtime =
        flash_platform::runtime().map_err(|error| problem("could not start the async runtime for", error))?;
    let served = runtime.block_on(Box::pin(host(&directory, manager, report)));
    // Blocking work that hangs must not keep the process alive.
    runtime.shutdown_timeout(LAST_ANSWERS);
    drop(lock);
    Ok(served?)
}

async fn host(directory: &DataDirectory, manager: Manager, report: &SharedReport) -> Result<(), TargetError> {
    let stop = StopSignals::listen()?;
    let _log = Rotation::start(directory, Role::Rotates)
        .map_err(|error| TargetError::new(Problem::Failed, "cannot watch service.log").because(error))?;
    let environments = Environments::open(directory.clone(), None, report.clone()).await?;
    let key = ControlKey::make(directory).map_err(|error| {
        let path = directory.control_key();
        TargetError::new(Problem::Failed, format!("cannot write {}", path.display())).because(error)
    })?;
    let listener = ControlListener::open(directory).map_err(|error| {
        let path = directory.socket();
        TargetError::new(Problem::Failed, format!("cannot open {}", path.display())).because(error)
    })?;
    let state = ServiceState {
        environments,
        directory: directory.clone(),
        started_ms: now_ms(),
        manager,
        key: Some(key),
    };
    until_stopped(listener, state, stop, report).await;
    Ok(())
}

/// Runs the service in a pod of a cluster until it is told to stop: its workers run in the cluster, and whoever can connect
/// to `control` may change everything. `begin` comes once no other service uses the directory any more.
///
/// # Errors
/// When its data cannot be used, or another service uses it.
pub async fn serve_in_cluster(
    directory: &DataDirectory,
    begin: impl Future<Output = ()>,
    cluster: Arc<dyn Cluster>,
    control: TcpListener,
    report: &SharedReport,
) -> Result<(), TargetError> {
    let stop = StopSignals::listen()?;
    let lock = Lock::take(&directory.service_lock(), LOCK_TIME).map_err(|error| {
        TargetError::new(Problem::Failed, format!("cannot lock {}", directory.path().display()))
            .because(error)
    })?;
    let Some(_lock) = lock else {
        let message = format!("another service uses {}", directory.path().display());
        return Err(TargetError::new(Problem::Failed, message));
    };
    begin.await;
    let environments = Environments::open(directory.clone(), Some(cluster), report.clone()).await?;
    let state = ServiceState {
        environments,
        directory: directory.clone(),
        started_ms: now_ms(),
        manager: Manager::Cluster,
        key: None,
    };
    until_stopped(control, state, stop, report).await;
    Ok(())
}

/// Serves until it is told to stop, then stops all environments.
async fn until_stopped<L>(listener: L, state: ServiceState, mut stop: StopSignals, report: &SharedReport)
where
    L: axum::serve::Listener<Addr: Clone + Sync + fmt::Debug>,
{
    let (environments, directory) = (state.environments.clone(), state.directory.clone());
    let closing = CancellationToken::new();
    let share = environments.share();
    let server = tokio::spawn(server::serve(listener, share, closing.clone(), state));
    report.status("Serving", &format!("environments of {}", directory.path().display()));
    stop.next().await;
    report.status("Stopping", "running work gets its drain time");
    // From here on commands see that it is gone, and wait for its lock.
    let _ = std::fs::remove_file(directory.socket());
    closing.cancel();
    environments.stop().await;
    // Connections that follow a log are cut off.
    let _ = tokio::time::timeout(LAST_ANSWERS, server).await;
    report.status("Stopped", "all environments");
}
