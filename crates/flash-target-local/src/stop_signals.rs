//! The signals that end the service and its supervisor.
use flash_target::{Problem, TargetError};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// SIGINT or SIGTERM.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    /// From now on they no longer end the process.
    pub(super) fn listen() -> Result<Self, TargetError> {
        let problem = |error: std::io::Error| {
            TargetError::new(Problem::Failed, "could not listen for signals").because(error)
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(problem)?,
            terminate: signal(SignalKind::terminate()).map_err(problem)?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
