//! How often a job that failed with a retryable error runs again, and how long it waits before.
//!
//! It only computes; who runs a job again is the platform, or the SDK in process.
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The retries of a function: `#[remote(retries = 3, backoff = 1..=60)]`.
///
/// | setting | default | limits |
/// |---|---|---|
/// | count | | 1 to 100 |
/// | first wait | 1 s | 1 s to 1 day, at most the longest |
/// | longest wait | 60 s | 1 s to 1 day |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// Attempts after the first one.
    pub count: u32,
    /// Seconds before the second attempt. Each later wait is twice as long.
    pub first_wait_seconds: u32,
    /// Where the waits stop to grow, in seconds.
    pub longest_wait_seconds: u32,
}

impl Retries {
    /// Most attempts after the first one.
    pub const MAX: u32 = 100;
    /// The longest wait between two attempts, in seconds: a day.
    pub const MAX_WAIT: u32 = 24 * 3600;

    /// So many attempts after the first one, with the default waits.
    ///
    /// # Panics
    /// In const evaluation, if the number is out of range.
    pub const fn new(count: u32) -> Self {
        assert!(1 <= count && count <= Self::MAX, "a function may have 1 to 100 retries");
        Self { count, first_wait_seconds: 1, longest_wait_seconds: 60 }
    }

    /// The first and the longest wait, in seconds.
    ///
    /// # Panics
    /// In const evaluation, if a number is out of range or the first is above the longest.
    pub const fn backoff(mut self, first: u32, longest: u32) -> Self {
        assert!(1 <= first && longest <= Self::MAX_WAIT, "waits between attempts must be 1 second to 1 day");
        assert!(first <= longest, "the first wait between attempts is above the longest");
        self.first_wait_seconds = first;
        self.longest_wait_seconds = longest;
        self
    }

    /// The retries of a call: the function's own, or what its caller asked for with the function's waits. `0` turns
    /// them off; more than [`Retries::MAX`] is that.
    pub fn chosen(own: Option<Self>, asked: Option<u32>) -> Option<Self> {
        match asked {
            None => own,
            Some(0) => None,
            Some(count) => {
                Some(Self { count: count.min(Self::MAX), ..own.unwrap_or(const { Self::new(1) }) })
            }
        }
    }

    /// The wait after this many failed attempts; `None` if that was the last one. `jitter` is from 0 to 1.
    pub fn wait_after(&self, failed: u32, jitter: f64) -> Option<Duration> {
        if failed == 0 || failed > self.count {
            return None;
        }
        let doubled = 2_u32.saturating_pow(failed - 1).saturating_mul(self.first_wait_seconds);
        let whole = Duration::from_secs(doubled.min(self.longest_wait_seconds).into());
        // At least half of it, randomised so that jobs that failed together do not return together.
        Some(whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_end_with_the_count() {
        let retries = Retries::new(4).backoff(2, 10);
        let seconds = |jitter: f64| {
            let waits =
                (0..=5).map(|failed| retries.wait_after(failed, jitter).map(|wait| wait.as_secs_f64()));
            waits.collect::<Vec<_>>()
        };
        assert_eq!(seconds(1.0), [None, Some(2.0), Some(4.0), Some(8.0), Some(10.0), None]);
        assert_eq!(seconds(0.0), [None, Some(1.0), Some(2.0), Some(4.0), Some(5.0), None]);
    }

    #[test]
    fn a_caller_chooses_the_number_and_the_function_the_waits() {
        let own = Retries::new(4).backoff(2, 10);
        assert_eq!(Retries::chosen(Some(own), None), Some(own));
        assert_eq!(Retries::chosen(Some(own), Some(0)), None);
        assert_eq!(Retries::chosen(Some(own), Some(7)), Some(Retries::new(7).backoff(2, 10)));
        assert_eq!(Retries::chosen(None, Some(u32::MAX)), Some(Retries::new(100)));
        assert_eq!(Retries::chosen(None, None), None);
    }

    #[test]
    fn no_number_overflows() {
        let retries = Retries::new(Retries::MAX).backoff(Retries::MAX_WAIT, Retries::MAX_WAIT);
        assert_eq!(retries.wait_after(100, 2.0), Some(Duration::from_secs(24 * 3600)));
    }

    #[test]
    #[should_panic(expected = "first wait between attempts is above the longest")]
    fn a_first_wait_above_the_longest_is_refused() {
        let _ = Retries::new(1).backoff(3, 2);
    }
}
