//! When a request is retried, and after how long.
//!
//! This module only decides; [`super::send`] sends and waits.
use std::time::Duration;

/// The longest `Retry-After` that is followed. A caller is waiting, so a longer one ends the retries.
const LONGEST_WISH: Duration = Duration::from_secs(60);
/// The first and the longest pause. Each is twice the previous one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What sending a request again would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Nothing: it only reads, or has an idempotency key.
    Harmless,
    /// The same work twice, unless the first one was certainly not accepted.
    Twice,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No connection: nothing was sent.
    Unsent,
    /// The connection broke during the request or the answer.
    Broken,
    /// An unsuccessful answer, with its `Retry-After`.
    Refused { status: u16, retry_after: Option<Duration> },
}

/// The pause before the next attempt; `None` after the last one. `tried` counts from 1, `jitter` is from 0 to 1.
pub(super) fn pause(
    trouble: Trouble,
    repeat: Repeat,
    tried: u32,
    retries: u32,
    jitter: f64,
) -> Option<Duration> {
    if tried > retries || !may_repeat(trouble, repeat) {
        return None;
    }
    let doubled = PAUSES.0.saturating_mul(2_u32.saturating_pow(tried - 1)).min(PAUSES.1);
    // At least half of it, randomised so that clients that failed together do not return together.
    let own = doubled.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    match trouble {
        Trouble::Refused { retry_after: Some(wish), .. } => (wish <= LONGEST_WISH).then(|| wish.max(own)),
        _ => Some(own),
    }
}

fn may_repeat(trouble: Trouble, repeat: Repeat) -> bool {
    match (trouble, repeat) {
        // It was not accepted.
        (Trouble::Unsent | Trouble::Refused { status: 429, .. }, _) | (Trouble::Broken, Repeat::Harmless) => {
            true
        }
        (Trouble::Refused { status, .. }, Repeat::Harmless) => matches!(status, 408 | 502..=504),
        (Trouble::Broken | Trouble::Refused { .. }, Repeat::Twice) => false,
    }
}

/// The seconds of a `Retry-After`. A date is ignored, and the normal pause is used.
pub(super) fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, seconds: Option<u64>) -> Trouble {
        Trouble::Refused { status, retry_after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn what_may_have_been_taken_is_not_sent_twice() {
        for trouble in [Trouble::Broken, refused(502, None), refused(503, Some(1))] {
            assert_eq!(pause(trouble, Repeat::Twice, 1, 4, 0.0), None, "{trouble:?}");
            assert!(pause(trouble, Repeat::Harmless, 1, 4, 0.0).is_some(), "{trouble:?}");
        }
        for trouble in [Trouble::Unsent, refused(429, None)] {
            assert!(pause(trouble, Repeat::Twice, 1, 4, 0.0).is_some(), "{trouble:?}");
        }
    }

    #[test]
    fn a_refusal_that_stays_is_final() {
        for status in [400, 401, 403, 404, 413, 422, 501] {
            assert_eq!(pause(refused(status, None), Repeat::Harmless, 1, 4, 0.0), None, "{status}");
        }
    }

    #[test]
    fn the_server_says_when_to_come_again_within_a_bound() {
        let after = |seconds| pause(refused(429, Some(seconds)), Repeat::Twice, 1, 4, 1.0);
        assert_eq!(after(7), Some(Duration::from_secs(7)));
        assert_eq!(after(0), Some(Duration::from_millis(200)));
        assert_eq!(after(3600), None);
        assert_eq!(retry_after(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    #[test]
    fn pauses_grow_and_end() {
        let after = |tried, jitter| pause(Trouble::Unsent, Repeat::Twice, tried, 10, jitter);
        assert_eq!(after(1, 0.0), Some(Duration::from_millis(100)));
        assert_eq!(after(1, 1.0), Some(Duration::from_millis(200)));
        assert_eq!(after(3, 1.0), Some(Duration::from_millis(800)));
        assert_eq!(after(10, 1.0), Some(Duration::from_secs(10)));
        assert_eq!(after(11, 1.0), None);
        assert_eq!(pause(Trouble::Unsent, Repeat::Twice, 1, 0, 1.0), None);
    }
}
