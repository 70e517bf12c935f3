//! How often and how long to retry a failing registry.
use std::time::Duration;

use super::error::RegistryError;

/// If a registry asks for a longer pause than this, do not wait.
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
    /// For the first request to a registry: a wrong name or port is reported soon.
    pub(super) fn short(self) -> Self {
        Self { max_attempts: self.max_attempts.min(3), ..self }
    }

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
    pub(super) async fn wait_after(&mut self, failure: RegistryError) -> Result<(), RegistryError> {
        let failure = check_retryable(failure)?;
        let asked = failure.retry_after();
        self.count(failure)?;
        self.pause(asked).await;
        Ok(())
    }

    /// Like [`Attempts::wait_after`], for a failure for which progress is only known after the pause. Pass it to
    /// [`Attempts::count`] then.
    ///
    /// # Errors
    /// The failure, if another try cannot help.
    pub(super) async fn wait_before_counting(
        &self,
        failure: RegistryError,
    ) -> Result<RegistryError, RegistryError> {
        let failure = check_retryable(failure)?;
        let next = Self { failures: self.failures.saturating_add(1), ..*self };
        next.pause(failure.retry_after()).await;
        Ok(failure)
    }

    /// Counts one more failure.
    ///
    /// # Errors
    /// The failure, if no try is left.
    pub(super) fn count(&mut self, failure: RegistryError) -> Result<(), RegistryError> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.policy.max_attempts {
            return Err(match self.failures {
                1 => failure,
                tries => RegistryError::GivenUp { tries, source: Box::new(failure) },
            });
        }
        Ok(())
    }

    async fn pause(&self, asked: Option<Duration>) {
        let pause = self.policy.pause(self.failures).mul_f64(0.5 + fastrand::f64());
        tokio::time::sleep(asked.map_or(pause, |asked| asked.max(pause))).await;
    }
}

/// The failure as an error, if another try cannot help.
fn check_retryable(failure: RegistryError) -> Result<RegistryError, RegistryError> {
    let is_asked_for_long = failure.retry_after().is_some_and(|asked| asked > LONGEST_ASKED);
    if failure.is_passing() && !is_asked_for_long { Ok(failure) } else { Err(failure) }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn busy(retry_after: Option<u64>) -> RegistryError {
        let retry_after = retry_after.map(Duration::from_secs);
        RegistryError::TooManyRequests { registry: "r".to_owned(), retry_after }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let (mut attempts, started) = (Attempts::new(RetryPolicy::default()), Instant::now());
        let mut pauses = 0;
        let error = loop {
            match attempts.wait_after(busy(None)).await {
                Ok(()) => pauses += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, RegistryError::GivenUp { tries: 6, .. }), "{error:?}");
        assert_eq!(pauses, 5);
        let took = started.elapsed().as_secs_f64();
        // Half to one and a half times 0.5 + 1 + 2 + 4 + 8 seconds.
        assert!((7.7..23.3).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_is_left_alone_for_as_long_as_it_asks_but_not_for_ever() {
        let (mut attempts, started) = (Attempts::new(RetryPolicy::default()), Instant::now());
        attempts.wait_after(busy(Some(30))).await.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(30));
        let error = attempts.wait_after(busy(Some(3_600))).await.unwrap_err();
        assert!(matches!(error, RegistryError::TooManyRequests { .. }), "{error:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_another_try_cannot_change_is_told_at_once() {
        let started = Instant::now();
        let denied =
            RegistryError::Denied { registry: "r".to_owned(), repository: "a".to_owned(), reason: None };
        assert!(Attempts::new(RetryPolicy::default()).wait_after(denied).await.is_err());
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
