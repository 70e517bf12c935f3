//! When a client sends a request of the queue API again, and after how long.
//!
//! This module only decides; `flash-sdk` and `flash call` send and wait.
use std::time::Duration;

/// The longest `Retry-After` that is followed. A caller is waiting, so a longer one ends the retries.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60);
/// The first and the longest pause. Each is twice the previous one.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// What a request does when it is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotency {
    /// Nothing: it only reads, or has an idempotency key.
    Idempotent,
    /// The same work twice, unless the first one was certainly not accepted.
    NotIdempotent,
    /// It gets the next chunks of a job. Those in an answer that was lost are not delivered again.
    DeliveredOnce,
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection: nothing was sent.
    Unsent,
    /// The connection broke during the request or the answer.
    Broken,
    /// An unsuccessful answer, with its `Retry-After`.
    Refused {
        /// The status code.
        status: u16,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
}

impl FailureKind {
    /// Of an answer with this status; `None` if it is not a failure.
    pub fn of_status(status: u16, retry_after: Option<Duration>) -> Option<Self> {
        (status >= 400).then_some(Self::Refused { status, retry_after })
    }
}

/// The pause before the next attempt; `None` after the last one. `tried` counts from 1, `jitter` is from 0 to 1.
pub fn pause(
    kind: FailureKind,
    idempotency: Idempotency,
    tried: u32,
    retries: u32,
    jitter: f64,
) -> Option<Duration> {
    if tried > retries || !may_retry(kind, idempotency) {
        return None;
    }
    let doubled = PAUSES.0.saturating_mul(2_u32.saturating_pow(tried - 1)).min(PAUSES.1);
    // At least half of it, randomised so that clients that failed together do not return together.
    let own = doubled.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
    match kind {
        FailureKind::Refused { retry_after: Some(asked), .. } => {
            (asked <= LONGEST_RETRY_AFTER).then(|| asked.max(own))
        }
        _ => Some(own),
    }
}

/// Whether sending the request again loses nothing and does nothing twice.
pub fn may_retry(kind: FailureKind, idempotency: Idempotency) -> bool {
    match (kind, idempotency) {
        // It was not accepted.
        (FailureKind::Unsent | FailureKind::Refused { status: 429, .. }, _)
        | (FailureKind::Broken, Idempotency::Idempotent)
        // A gateway that timed out may have dropped an answer; one that cannot reach its platform has none.
        | (FailureKind::Refused { status: 503, .. }, Idempotency::DeliveredOnce) => true,
        (FailureKind::Refused { status, .. }, Idempotency::Idempotent) => matches!(status, 408 | 502..=504),
        (
            FailureKind::Broken | FailureKind::Refused { .. },
            Idempotency::NotIdempotent | Idempotency::DeliveredOnce,
        ) => false,
    }
}

/// The seconds of a `Retry-After`. A date is ignored, and the normal pause is used.
pub fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, seconds: Option<u64>) -> FailureKind {
        FailureKind::Refused { status, retry_after: seconds.map(Duration::from_secs) }
    }

    #[test]
    fn what_may_have_been_taken_is_not_sent_twice() {
        for kind in [FailureKind::Broken, refused(502, None), refused(503, Some(1))] {
            assert_eq!(pause(kind, Idempotency::NotIdempotent, 1, 4, 0.0), None, "{kind:?}");
            assert!(pause(kind, Idempotency::Idempotent, 1, 4, 0.0).is_some(), "{kind:?}");
        }
        for kind in [FailureKind::Unsent, refused(429, None)] {
            assert!(pause(kind, Idempotency::NotIdempotent, 1, 4, 0.0).is_some(), "{kind:?}");
        }
    }

    #[test]
    fn chunks_are_not_asked_for_again_where_an_answer_may_be_lost() {
        let may = |kind| may_retry(kind, Idempotency::DeliveredOnce);
        assert!(may(FailureKind::Unsent) && may(refused(429, None)) && may(refused(503, None)));
        for kind in [FailureKind::Broken, refused(408, None), refused(502, None), refused(504, None)] {
            assert!(!may(kind), "{kind:?}");
        }
        for status in [404, 500] {
            assert!(!may(refused(status, None)), "{status}");
        }
        assert_eq!(FailureKind::of_status(200, None), None);
    }

    #[test]
    fn a_refusal_that_stays_is_final() {
        for status in [400, 401, 403, 404, 413, 422, 501] {
            assert_eq!(pause(refused(status, None), Idempotency::Idempotent, 1, 4, 0.0), None, "{status}");
        }
    }

    #[test]
    fn the_server_says_when_to_come_again_within_a_bound() {
        let after = |seconds| pause(refused(429, Some(seconds)), Idempotency::NotIdempotent, 1, 4, 1.0);
        assert_eq!(after(7), Some(Duration::from_secs(7)));
        assert_eq!(after(0), Some(Duration::from_millis(200)));
        assert_eq!(after(3600), None);
        assert_eq!(retry_after(" 3 "), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    #[test]
    fn pauses_grow_and_end() {
        let after = |tried, jitter| pause(FailureKind::Unsent, Idempotency::NotIdempotent, tried, 10, jitter);
        assert_eq!(after(1, 0.0), Some(Duration::from_millis(100)));
        assert_eq!(after(1, 1.0), Some(Duration::from_millis(200)));
        assert_eq!(after(3, 1.0), Some(Duration::from_millis(800)));
        assert_eq!(after(10, 1.0), Some(Duration::from_secs(10)));
        assert_eq!(after(11, 1.0), None);
        assert_eq!(pause(FailureKind::Unsent, Idempotency::NotIdempotent, 1, 0, 1.0), None);
    }
}
