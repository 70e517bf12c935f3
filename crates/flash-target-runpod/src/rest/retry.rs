//! Which failed calls are tried again, and how long; `flash_http::retry` does it.
use std::time::Duration;

use flash_http::retry::{Failure, RetryPolicy};

use super::RestError;

/// Of one call: six attempts, and 90 seconds with all pauses.
pub(super) const POLICY: RetryPolicy = RetryPolicy {
    max_attempts: 6,
    first_pause: Duration::from_millis(500),
    longest_pause: Duration::from_secs(10),
    max_elapsed: Some(Duration::from_secs(90)),
};

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

/// What a failed attempt returned. All of these may pass.
pub(super) struct Failed {
    pub kind: FailureKind,
    pub error: RestError,
}

impl Failure for Failed {
    fn is_passing(&self) -> bool {
        true
    }

    fn retry_after(&self) -> Option<Duration> {
        match self.kind {
            FailureKind::RateLimited { asked } => asked,
            FailureKind::Ambiguous | FailureKind::NotSent => None,
        }
    }

    fn given_up(self, _tries: u32) -> Self {
        self
    }
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

    #[test]
    fn the_pause_that_is_asked_for_is_read_from_either_header() {
        let limit = r#""minute";r=0;t=12, "hour";r=2800;t=1812, "day";r=49500;t=45012"#;
        assert_eq!(asked(None, Some(limit)), Some(Duration::from_secs(12)));
        assert_eq!(asked(Some("3"), Some(limit)), Some(Duration::from_secs(3)));
        assert_eq!(asked(Some("soon"), Some("rubbish;;=")), None);
        assert_eq!(asked(None, Some(r#""minute";r=5;t=12"#)), None);
    }
}
