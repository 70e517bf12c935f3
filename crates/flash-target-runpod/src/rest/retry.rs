//! Whether and when to retry a call: decided here, done in `client`.
use std::time::Duration;

/// If the API asks for a longer pause than this, do not wait.
const LONGEST_ASKED: Duration = Duration::from_secs(60);
const TRIES: u32 = 6;
/// All tries and pauses of one call.
const WHOLE: Duration = Duration::from_secs(90);

/// The pause after the first failure; each next one is twice as long, up to [`Backoff::longest_pause`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(10) }
    }
}

/// How an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// 429: certainly not carried out.
    RateLimited { asked: Option<Duration> },
    /// 5xx, or a broken connection: it may have been carried out.
    Ambiguous,
    /// Not even connected: certainly not carried out.
    NotSent,
}

/// The pause before the next try, or `None` if there is none. `failures` includes this one; `jitter` is 0 to 1.
pub(super) fn pause(
    backoff: Backoff,
    kind: FailureKind,
    failures: u32,
    elapsed: Duration,
    jitter: f64,
) -> Option<Duration> {
    if failures >= TRIES {
        return None;
    }
    let doubled = 2u32.saturating_pow(failures.saturating_sub(1));
    let own = backoff.first_pause.saturating_mul(doubled).min(backoff.longest_pause).mul_f64(0.5 + jitter);
    let pause = match kind {
        FailureKind::RateLimited { asked: Some(asked) } if asked > LONGEST_ASKED => return None,
        FailureKind::RateLimited { asked: Some(asked) } => asked.max(own),
        FailureKind::RateLimited { asked: None } | FailureKind::Ambiguous | FailureKind::NotSent => own,
    };
    (elapsed.saturating_add(pause) < WHOLE).then_some(pause)
}

/// The pause that an answer asks for: `Retry-After` in seconds, else the longest reset of an exhausted quota in
/// `RateLimit`, such as `"minute";r=0;t=12, "hour";r=2800;t=1812`.
pub(super) fn asked(retry_after: Option<&str>, rate_limit: Option<&str>) -> Option<Duration> {
    if let Some(seconds) = retry_after.and_then(|text| text.trim().parse().ok()) {
        return Some(Duration::from_secs(seconds));
    }
    let quotas = rate_limit?.split(',').filter_map(|quota| {
        let value = |name: &str| {
            quota
                .split(';')
                .find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
        };
        (value("r")? == 0).then(|| value("t")).flatten()
    });
    quotas.max().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_TIME: Duration = Duration::ZERO;

    #[test]
    fn the_pause_that_is_asked_for_is_read_from_either_header() {
        let limit = r#""minute";r=0;t=12, "hour";r=2800;t=1812, "day";r=49500;t=45012"#;
        assert_eq!(asked(None, Some(limit)), Some(Duration::from_secs(12)));
        assert_eq!(asked(Some("3"), Some(limit)), Some(Duration::from_secs(3)));
        assert_eq!(asked(Some("soon"), Some("rubbish;;=")), None);
        assert_eq!(asked(None, Some(r#""minute";r=5;t=12"#)), None);
    }

    #[test]
    fn pauses_grow_are_bounded_and_end() {
        let own = |failures| pause(Backoff::default(), FailureKind::Ambiguous, failures, NO_TIME, 0.5);
        assert_eq!(own(1), Some(Duration::from_millis(500)));
        assert_eq!(own(3), Some(Duration::from_secs(2)));
        assert_eq!(own(6), None);
        let asked = |seconds, elapsed| {
            let kind = FailureKind::RateLimited { asked: Some(Duration::from_secs(seconds)) };
            pause(Backoff::default(), kind, 1, Duration::from_secs(elapsed), 0.0)
        };
        assert_eq!(asked(30, 0), Some(Duration::from_secs(30)));
        assert_eq!(asked(61, 0), None);
        assert_eq!(asked(30, 70), None);
    }
}
