//! Shutdown of a worker: a signal stops the intake, and running work gets a limited time.
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells all parts to stop taking work, and how long to wait for running work.
#[derive(Clone)]
pub(super) struct Shutdown {
    requested: CancellationToken,
    drain: Duration,
}

impl Shutdown {
    /// Requested by SIGTERM or SIGINT. A second signal has no effect, because the drain is already limited.
    pub(super) fn on_signals(drain: Duration) -> Result<Self, String> {
        let problem = |error| format!("could not listen for signals: {error}");
        let mut terminate = signal(SignalKind::terminate()).map_err(problem)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(problem)?;
        let requested = CancellationToken::new();
        let request = requested.clone();
        // Ends with the process; nothing waits for it.
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            request.cancel();
        });
        Ok(Self { requested, drain })
    }

    /// Stops the intake.
    pub(super) fn request(&self) {
        self.requested.cancel();
    }

    /// Waits until the intake should stop.
    pub(super) async fn requested(&self) {
        self.requested.cancelled().await;
    }

    pub(super) fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// How long running work may take.
    pub(super) fn drain(&self) -> Duration {
        self.drain
    }
}
