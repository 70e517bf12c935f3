//! Time as the queue sees it: comparable across restarts, and never going back while a process lives.
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub u64);

impl Timestamp {
    /// How long ago `earlier` was; nothing for one in the future, as a clock that was set back leaves it.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This much later.
    pub(super) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Where the queue takes the time from.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    /// The system's time when the process started, and what a monotonic clock has counted since: a clock
    /// that is set while jobs run moves none of their limits.
    System { base: Timestamp, started: Instant },
    /// Set by a test.
    #[cfg(test)]
    Manual(std::sync::Arc<std::sync::atomic::AtomicU64>),
}

impl Clock {
    /// The system's.
    pub(crate) fn system() -> Self {
        // Before 1970: a machine without a clock. Its jobs know only the time since the start.
        let base = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::System { base: Timestamp::default().after(base), started: Instant::now() }
    }

    /// This moment.
    pub(crate) fn now(&self) -> Timestamp {
        match self {
            Self::System { base, started } => base.after(started.elapsed()),
            #[cfg(test)]
            Self::Manual(now) => Timestamp(now.load(std::sync::atomic::Ordering::SeqCst)),
        }
    }
}
