//! How failures of the Hub are retried: `error` says which pass, `flash_http::retry` how often and how long.
pub(super) use flash_http::retry::Attempts;
pub use flash_http::retry::RetryPolicy;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{super::error::DownloadError, *};

    fn busy(status: u16, retry_after: Option<u64>) -> DownloadError {
        let retry_after = retry_after.map(Duration::from_secs);
        DownloadError::Status { endpoint: "e".to_owned(), status, retry_after }
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_and_end() {
        let (mut attempts, started) = (Attempts::new(RetryPolicy::default()), Instant::now());
        let mut pauses = 0;
        let error = loop {
            match attempts.wait_after(busy(503, None)).await {
                Ok(()) => pauses += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, DownloadError::GivenUp { tries: 6, .. }), "{error:?}");
        assert_eq!(pauses, 5);
        let took = started.elapsed().as_secs_f64();
        // Half to one and a half times 0.5 + 1 + 2 + 4 + 8 seconds.
        assert!((7.7..23.3).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_hub_is_left_alone_for_as_long_as_it_asks_but_not_for_ever_and_refusals_are_final() {
        let (mut attempts, started) = (Attempts::new(RetryPolicy::default()), Instant::now());
        attempts.wait_after(busy(429, Some(30))).await.unwrap();
        assert!(started.elapsed() >= Duration::from_secs(30));
        assert!(matches!(
            attempts.wait_after(busy(429, Some(3_600))).await,
            Err(DownloadError::Status { .. })
        ));
        assert!(matches!(attempts.wait_after(busy(400, None)).await, Err(DownloadError::Status { .. })));
    }
}
