//! How often and how long a failing Hub is tried again.
use std::time::Duration;

use super::error::DownloadError;

/// If the Hub asks for a longer pause than this, do not wait.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// The number of attempts and the pauses between them.
#[derive(Debug, Clone, Copy)]
pub struct RetryPolicy {
    /// Attempts without progress, including the first.
    pub max_attempts: u32,
    /// The pause after the first of them; each next one is twice as long.
    pub first_pause: Duration,
    /// The longest pause of our own.
    pub longest_pause: Duration,
}

impl Default for RetryPolicy {
    /// About 20 seconds in total.
    fn default() -> Self {
        Self {
            max_attempts: 6,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(10),
        }
    }
}

impl RetryPolicy {
    /// The middle of the pause after this many failures.
    fn pause(self, failures: u32) -> Duration {
        let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
        self.first_pause.saturating_mul(doubled).min(self.longest_pause)
    }
}

/// Counts the failures of one operation.
#[derive(Debug)]
pub(super) struct Attempts {
    policy: RetryPolicy,
    failures: u32,
}

impl Attempts {
    pub(super) fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// The last failure came after progress.
    pub(super) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits until the next try.
    ///
    /// # Errors
    /// The failure itself, if another try cannot help or none is left.
    pub(super) async fn wait_after(&mut self, failure: DownloadError) -> Result<(), DownloadError> {
        let asked = failure.retry_after();
        if !failure.is_passing() || asked.is_some_and(|asked| asked > LONGEST_ASKED) {
            return Err(failure);
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.policy.max_attempts {
            return Err(DownloadError::GivenUp { tries: self.failures, source: Box::new(failure) });
        }
        let pause = self.policy.pause(self.failures).mul_f64(0.5 + fastrand::f64());
        tokio::time::sleep(asked.map_or(pause, |asked| asked.max(pause))).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn busy(status: u16, retry_after: Option<u64>) -> DownloadError {
        let retry_after = retry_after.map(Duration::from_secs);
        DownloadError::Status { endpoint: "e".to_owned(), status, retry_after }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let (mut attempts, started) = (Attempts::new(RetryPolicy::default()), Instant::now());
        let mut pauses = 0;
        let error = loop {
            match attempts.wait_after(busy(503, None)).await {
                Ok(()) => pauses += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, DownloadError::GivenUp { tries: 6, .. }), "{error:?}");
        assert_eq!(pauses, 5);
        let took = started.elapsed().as_secs_f64();
        // Half to one and a half times 0.5 + 1 + 2 + 4 + 8 seconds.
        assert!((7.7..23.3).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_hub_is_left_alone_for_as_long_as_it_asks_but_not_for_ever_and_refusals_are_final() {
        let (mut attempts, started) = (Attempts::new(RetryPolicy::default()), Instant::now());
        attempts.wait_after(busy(429, Some(30))).await.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(30));
        assert!(matches!(
            attempts.wait_after(busy(429, Some(3_600))).await,
            Err(DownloadError::Status { .. })
        ));
        assert!(matches!(attempts.wait_after(busy(400, None)).await, Err(DownloadError::Status { .. })));
    }
}
