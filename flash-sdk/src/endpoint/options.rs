//! What may be said of a job beside its input.
use std::time::Duration;

use crate::wire::job::Policy;

/// What may be said of a job beside its input.
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
    /// Nothing is said.
    pub fn new() -> Self {
        Self::default()
    }

    /// The URL that is told of the job's end, by POST. It may be told twice.
    #[must_use]
    pub fn webhook(mut self, url: impl Into<String>) -> Self {
        self.webhook = Some(url.into());
        self
    }

    /// How long the job may run, from 5 s to 7 days; the worker type's own limit otherwise.
    #[must_use]
    pub fn execution_timeout(mut self, limit: Duration) -> Self {
        self.policy.execution_timeout = Some(milliseconds(limit));
        self
    }

    /// How long the job may take from submission on, waiting included, from 10 s to 7 days (default: a day). Then it is
    /// deleted, even while it runs, and its status is 404.
    #[must_use]
    pub fn ttl(mut self, limit: Duration) -> Self {
        self.policy.ttl = Some(milliseconds(limit));
        self
    }

    /// No worker is started for this job: it waits for one that is there.
    #[must_use]
    pub fn low_priority(mut self) -> Self {
        self.policy.low_priority = true;
        self
    }

    /// A name of your own for the job: a second submission with it is the same job. Up to 255 visible ASCII characters.
    /// The Flash platform keeps to it. Runpod ignores it: there, a submission that is repeated after a broken connection
    /// may run twice.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
