//! When a function runs again after an error that says it is retryable.
//!
//! The Flash platform decides this for jobs on its workers. Here it is decided for calls in this process, and on a
//! provider that runs each job once.
use std::time::{Duration, Instant};

use flash_protocol::{Error, Retries};

use crate::jitter::jitter;

/// How long to wait for the next attempt after this error, with which `failed` attempts have failed; `None` if there
/// is none, or if it would begin after `until`.
pub(crate) fn wait_after(
    error: &Error,
    retries: Retries,
    failed: u32,
    until: Option<Instant>,
) -> Option<Duration> {
    if !error.is_retryable() {
        return None;
    }
    let wait = retries.wait_after(failed, jitter())?;
    until.is_none_or(|until| Instant::now() + wait < until).then_some(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_retryable_error_with_time_left_is_followed_by_another_attempt() {
        let retries = Retries::new(2).backoff(4, 4);
        let busy = Error::retryable("busy");
        let wait = wait_after(&busy, retries, 1, None).unwrap();
        assert!((2.0..=4.0).contains(&wait.as_secs_f64()), "{wait:?}");
        let soon = |seconds| Some(Instant::now() + Duration::from_secs(seconds));
        assert!(wait_after(&busy, retries, 2, soon(60)).is_some());
        assert_eq!(wait_after(&busy, retries, 3, None), None, "it has had both");
        assert_eq!(wait_after(&busy, retries, 1, soon(1)), None, "its caller is gone by then");
        assert_eq!(wait_after(&Error::handler("no"), retries, 1, None), None);
    }
}
