//! How often and how long a failing server is tried again. Which failures pass is for those who send to say.
use std::time::Duration;

/// If a server asks for a longer pause than this, do not wait.
const LONGEST_ASKED: Duration = Duration::from_secs(60);

/// The failure of one try.
pub trait Failure: Sized {
    /// Whether another try may succeed.
    fn is_passing(&self) -> bool;

    /// The pause that the server asks for.
    fn retry_after(&self) -> Option<Duration>;

    /// The failure of all tries, of which this is the last. There were at least two.
    #[must_use]
    fn given_up(self, tries: u32) -> Self;
}

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
    /// For the first request to a server: a wrong name or port is reported soon.
    #[must_use]
    pub fn short(self) -> Self {
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
pub struct Attempts {
    policy: RetryPolicy,
    failures: u32,
}

impl Attempts {
    /// None has failed yet.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// The last failure came after progress, so the count begins anew.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits until the next try.
    ///
    /// # Errors
    /// The failure itself, if another try cannot help or none is left.
    pub async fn wait_after<F: Failure>(&mut self, failure: F) -> Result<(), F> {
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
    pub async fn wait_before_counting<F: Failure>(&self, failure: F) -> Result<F, F> {
        let failure = check_retryable(failure)?;
        let next = Self { failures: self.failures.saturating_add(1), ..*self };
        next.pause(failure.retry_after()).await;
        Ok(failure)
    }

    /// Counts one more failure.
    ///
    /// # Errors
    /// The failure, if no try is left.
    pub fn count<F: Failure>(&mut self, failure: F) -> Result<(), F> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.policy.max_attempts {
            return Err(match self.failures {
                1 => failure,
                tries => failure.given_up(tries),
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
fn check_retryable<F: Failure>(failure: F) -> Result<F, F> {
    let is_asked_for_long = failure.retry_after().is_some_and(|asked| asked > LONGEST_ASKED);
    if failure.is_passing() && !is_asked_for_long { Ok(failure) } else { Err(failure) }
}
