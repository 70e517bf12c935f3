//! How long workers may be silent, and how long they may hold stopped work.
use std::time::Duration;

/// Limits for workers that do not respond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Supervision {
    /// How long a worker that pings may be silent before it is killed; `None` for no limit.
    pub ping_timeout: Option<Duration>,
    /// How long a stopped job may hold its worker: SIGTERM is sent after half of it, SIGKILL at its end.
    pub stop_grace: Duration,
}

impl Supervision {
    /// How often workers should ping: three times within the limit. In whole seconds, because the official worker
    /// rounds down, and would ping without a pause below one.
    pub fn ping_interval(&self) -> Duration {
        let third = self.ping_timeout.map_or(u64::MAX, |timeout| timeout.as_secs() / 3);
        Duration::from_secs(third.clamp(1, 4))
    }
}

impl Default for Supervision {
    fn default() -> Self {
        Self { ping_timeout: Some(Duration::from_secs(15)), stop_grace: Duration::from_millis(500) }
    }
}
