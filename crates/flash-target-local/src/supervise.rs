//! Keeps the service running where systemd does not: starts it again after a crash.
//!
//! A service that ends by itself, or cannot start at all, is not started again.
use std::{
    io,
    process::ExitStatus,
    time::{Duration, Instant},
};

use flash_process::parent_death::{self, OnParentDeath};
use flash_target::{Problem, TargetError};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Command;

use super::{
    directory::DataDirectory,
    invocation::{ANOTHER_RUNS, ARGUMENT, CANNOT_START, End},
    lock::{Lock, write_pid},
    service_log::{Role, Rotation},
    stop_signals::StopSignals,
};
use crate::report::SharedReport;

/// How long another supervisor may take to release the lock: a mere check holds it only for a moment.
const LOCK_TIME: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Less than a command waits for the service.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A service that ran this long did not crash because of how it started.
const WELL: Duration = Duration::from_secs(60);

/// Runs until the service ends by itself or a signal ends both.
pub(super) fn supervise(report: &SharedReport) -> Result<(), End> {
    let directory = DataDirectory::of_user()?;
    let problem =
        |error: io::Error| TargetError::new(Problem::Failed, "cannot supervise the service").because(error);
    let lock = Lock::take(&directory.supervisor_lock(), LOCK_TIME).map_err(problem)?;
    let lock = lock.ok_or(End::AnotherRuns)?;
    write_pid(&directory.pid_file()).map_err(problem)?;
    let _log = Rotation::start(&directory, Role::Follows).map_err(problem)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(problem)?;
    let ended = runtime.block_on(keep_running(report));
    let _ = std::fs::remove_file(directory.pid_file());
    drop(lock);
    ended
}

async fn keep_running(report: &SharedReport) -> Result<(), End> {
    let mut stop = StopSignals::listen()?;
    let problem =
        |error: io::Error| TargetError::new(Problem::Failed, "cannot run the service").because(error);
    // Resolved once: a newer flash in its place is started after the next crash.
    let program = std::env::current_exe().map_err(problem)?;
    let mut pause = FIRST_PAUSE;
    loop {
        let started = Instant::now();
        let mut command = Command::new(&program);
        command.arg(ARGUMENT);
        let mut service = parent_death::spawn(command, OnParentDeath::Terminate).await.map_err(problem)?;
        let status = tokio::select! {
            status = service.wait() => status.map_err(problem)?,
            () = stop.next() => {
                let pid = service.id().and_then(|pid| i32::try_from(pid).ok());
                if let Some(pid) = pid {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                }
                service.wait().await.map_err(problem)?;
                return Ok(());
            }
        };
        match after(status) {
            After::Ended(ended) => return ended,
            After::Crashed => {
                pause = if started.elapsed() > WELL { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                let pause = pause.as_secs_f32();
                report.warning(&format!("the service ended with {status}; restarting it in {pause} s"));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.next() => return Ok(()),
        }
    }
}

enum After {
    Ended(Result<(), End>),
    Crashed,
}

fn after(status: ExitStatus) -> After {
    match status.code() {
        Some(0) => After::Ended(Ok(())),
        Some(ANOTHER_RUNS) => After::Ended(Err(End::AnotherRuns)),
        // It has printed the reason.
        Some(CANNOT_START) => {
            After::Ended(Err(End::Failed(TargetError::new(Problem::Failed, "the service cannot start"))))
        }
        _ => After::Crashed,
    }
}
