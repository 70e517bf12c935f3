//! Options of a job.
use std::time::Duration;

use flash_protocol::wire::job::Policy;

/// Options of a job.
///
/// ```
/// use std::time::Duration;
/// use flash_sdk::endpoint::JobOptions;
///
/// let options = JobOptions::new()
///     .idempotency_key("order-17")
///     .execution_timeout(Duration::from_secs(60))
///     .ttl(Duration::from_secs(3600))
///     .webhook("https://example.com/done");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobOptions {
    pub(super) webhook: Option<String>,
    pub(super) policy: Policy,
    pub(super) idempotency_key: Option<String>,
}

impl JobOptions {
    /// Creates options with all defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a URL that gets a POST when the job ends. It may be sent more than once.
    #[must_use]
    pub fn webhook(mut self, url: impl Into<String>) -> Self {
        self.webhook = Some(url.into());
        self
    }

    /// Sets how long the job may run, from 5 s to 7 days. The default is the worker type's limit.
    #[must_use]
    pub fn execution_timeout(mut self, limit: Duration) -> Self {
        self.policy.execution_timeout = Some(milliseconds(limit));
        self
    }

    /// Sets how long the job may take from submission, including waiting, from 10 s to 7 days (default: a day). After
    /// that it is deleted, even while it runs, and its status is 404.
    #[must_use]
    pub fn ttl(mut self, limit: Duration) -> Self {
        self.policy.ttl = Some(milliseconds(limit));
        self
    }

    /// Does not start a worker for this job; it waits for an existing one.
    #[must_use]
    pub fn low_priority(mut self) -> Self {
        self.policy.low_priority = true;
        self
    }

    /// Sets a key for the job, up to 255 visible ASCII characters. A second submission with the same key returns the
    /// same job. The Flash platform supports it. Runpod ignores it: there, a submission that is repeated after a
    /// broken connection may run twice.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
