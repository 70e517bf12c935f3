//! Shutdown of a worker: a signal stops the intake, and running work gets a limited time.
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tells all parts to stop taking work, and how long to wait for running work.
#[derive(Clone)]
pub(super) struct Shutdown {
    requested: CancellationToken,
    requested_at: Arc<OnceLock<Instant>>,
    drain: Duration,
}

impl Shutdown {
    /// Requested by SIGTERM or SIGINT. A second signal has no effect, because the drain is already limited.
    pub(super) fn on_signals(drain: Duration) -> Result<Self, String> {
        let problem = |error| format!("could not listen for signals: {error}");
        let mut terminate = signal(SignalKind::terminate()).map_err(problem)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(problem)?;
        let shutdown = Self { requested: CancellationToken::new(), requested_at: Arc::default(), drain };
        let own = shutdown.clone();
        // Ends with the process; nothing waits for it.
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            own.request();
        });
        Ok(shutdown)
    }

    /// Stops the intake.
    pub(super) fn request(&self) {
        // The drain time runs from the first request.
        self.requested_at.get_or_init(Instant::now);
        self.requested.cancel();
    }

    /// Waits until the intake should stop.
    pub(super) async fn requested(&self) {
        self.requested.cancelled().await;
    }

    pub(super) fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// What is left of the drain time; all of it before it has begun.
    pub(super) fn left(&self) -> Duration {
        let passed = self.requested_at.get().map_or(Duration::ZERO, Instant::elapsed);
        self.drain.saturating_sub(passed)
    }

    /// How long running work may take.
    pub(super) fn drain(&self) -> Duration {
        self.drain
    }
}
