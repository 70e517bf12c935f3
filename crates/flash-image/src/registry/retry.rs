//! How failures of a registry are retried: `error` says which pass, `flash_http::retry` how often and how long.
pub(super) use flash_http::retry::Attempts;
pub use flash_http::retry::RetryPolicy;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{super::error::RegistryError, *};

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
