//! How often and how long a failing server is tried again. Which failures pass is for those who send to say.
use std::time::Duration;

use tokio::time::Instant;

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
    /// No pause may end later than this after the first attempt began; `None`: no limit but the number of attempts.
    pub max_elapsed: Option<Duration>,
}

impl Default for RetryPolicy {
    /// About 20 seconds in total.
    fn default() -> Self {
        Self {
            max_attempts: 6,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(10),
            max_elapsed: None,
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
    began: Instant,
}

impl Attempts {
    /// None has failed yet. The first attempt begins now.
    pub fn new(policy: RetryPolicy) -> Self {
        Self { policy, failures: 0, began: Instant::now() }
    }

    /// The last failure came after progress, so the count begins anew.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }

    /// Waits until the next try.
    ///
    /// # Errors
    /// The failure itself, without a pause, if another try cannot help or none is left.
    pub async fn wait_after<F: Failure>(&mut self, failure: F) -> Result<(), F> {
        let failure = check_retryable(failure)?;
        let pause = self.next_pause(self.failures.saturating_add(1), failure.retry_after());
        if self.policy.max_elapsed.is_some_and(|limit| self.began.elapsed().saturating_add(pause) > limit) {
            self.failures = self.failures.saturating_add(1);
            return Err(self.given_up(failure));
        }
        self.count(failure)?;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Like [`Attempts::wait_after`], for a failure for which progress is only known after the pause. Pass it to
    /// [`Attempts::count`] then.
    ///
    /// # Errors
    /// The failure, if another try cannot help.
    pub async fn wait_before_counting<F: Failure>(&self, failure: F) -> Result<F, F> {
        let failure = check_retryable(failure)?;
        let pause = self.next_pause(self.failures.saturating_add(1), failure.retry_after());
        tokio::time::sleep(pause).await;
        Ok(failure)
    }

    /// Counts one more failure.
    ///
    /// # Errors
    /// The failure, if no try is left.
    pub fn count<F: Failure>(&mut self, failure: F) -> Result<(), F> {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= self.policy.max_attempts { Err(self.given_up(failure)) } else { Ok(()) }
    }

    fn given_up<F: Failure>(&self, failure: F) -> F {
        match self.failures {
            1 => failure,
            tries => failure.given_up(tries),
        }
    }

    /// The pause after this many failures: our own, or that which the server asks for if it is longer.
    fn next_pause(&self, failures: u32, asked: Option<Duration>) -> Duration {
        let pause = self.policy.pause(failures).mul_f64(0.5 + fastrand::f64());
        asked.map_or(pause, |asked| asked.max(pause))
    }
}

/// The failure as an error, if another try cannot help.
fn check_retryable<F: Failure>(failure: F) -> Result<F, F> {
    let is_asked_for_long = failure.retry_after().is_some_and(|asked| asked > LONGEST_ASKED);
    if failure.is_passing() && !is_asked_for_long { Ok(failure) } else { Err(failure) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Busy {
        asked: Option<u64>,
        tries: u32,
    }

    impl Failure for Busy {
        fn is_passing(&self) -> bool {
            true
        }

        fn retry_after(&self) -> Option<Duration> {
            self.asked.map(Duration::from_secs)
        }

        fn given_up(self, tries: u32) -> Self {
            Self { tries, ..self }
        }
    }

    fn busy(asked: Option<u64>) -> Busy {
        Busy { asked, tries: 0 }
    }

    /// How long it waits after a failure.
    async fn waited(attempts: &mut Attempts, failure: Busy) -> Result<Duration, Busy> {
        let before = Instant::now();
        attempts.wait_after(failure).await.map(|()| before.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_are_bounded_and_end() {
        let mut attempts = Attempts::new(RetryPolicy::default());
        for middle in [500, 1_000, 2_000, 4_000, 8_000].map(Duration::from_millis) {
            let pause = waited(&mut attempts, busy(None)).await.unwrap();
            let bounds = middle.mul_f64(0.49)..middle.mul_f64(1.51);
            assert!(bounds.contains(&pause), "{pause:?} is not about {middle:?}");
        }
        assert_eq!(waited(&mut attempts, busy(None)).await, Err(Busy { asked: None, tries: 6 }));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_given_the_pause_that_it_asks_for_if_that_is_not_too_long() {
        let mut attempts = Attempts::new(RetryPolicy::default());
        let pause = waited(&mut attempts, busy(Some(30))).await.unwrap();
        assert!((30..31).contains(&pause.as_secs()), "{pause:?}");
        assert_eq!(waited(&mut attempts, busy(Some(61))).await, Err(busy(Some(61))));
    }

    #[tokio::test(start_paused = true)]
    async fn no_pause_ends_after_the_limit_of_the_whole() {
        let limit = Some(Duration::from_secs(90));
        let mut attempts = Attempts::new(RetryPolicy { max_elapsed: limit, ..RetryPolicy::default() });
        waited(&mut attempts, busy(Some(50))).await.unwrap();
        let began = Instant::now();
        assert_eq!(waited(&mut attempts, busy(Some(50))).await, Err(Busy { asked: Some(50), tries: 2 }));
        assert_eq!(began.elapsed(), Duration::ZERO, "it does not wait for nothing");
    }
}
