//! Reads the body of a request into memory, within limits of size and time.
use std::{error::Error, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flash_protocol::ErrorKind;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::error::Refusal;
use crate::listener::Stalled;

/// A buffered body may take this long, plus the time for its bytes at this rate.
const BODY_GRACE: Duration = Duration::from_secs(30);
const LEAST_BYTES_PER_SECOND: u32 = 16_000;

/// How long this much of a body may take: slow connections are accepted, trickling clients are not.
fn time_for(bytes: usize) -> Duration {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    BODY_GRACE + Duration::from_secs(1) * bytes / LEAST_BYTES_PER_SECOND
}

/// A body up to `limit` bytes.
///
/// # Errors
/// 413 over the limit, 408 for a body that arrives too slowly, 400 for one that ends early.
pub(super) async fn read_body(body: Body, limit: usize) -> Result<Bytes, Refusal> {
    read_allowed(body, limit, |_| Ok(())).await
}

/// Like [`read_body`], and each new length must be allowed by `allow`.
///
/// # Errors
/// As in [`read_body`], and the error of `allow`.
pub(super) async fn read_allowed(
    mut body: Body,
    limit: usize,
    mut allow: impl FnMut(usize) -> Result<(), Refusal>,
) -> Result<Bytes, Refusal> {
    // Its declared length, where it has one.
    if usize::try_from(body.size_hint().lower()).is_ok_and(|least| least > limit) {
        return Err(Refusal::too_large(limit));
    }
    let began = Instant::now();
    let mut whole = BytesMut::new();
    while let Ok(frame) = timeout_at(began + time_for(whole.len()), body.frame()).await {
        let Some(frame) = frame else { return Ok(whole.freeze()) };
        let frame = frame.map_err(|error| broken(&error))?;
        let Ok(data) = frame.into_data() else { continue };
        let length = whole.len() + data.len();
        if length > limit {
            return Err(Refusal::too_large(limit));
        }
        allow(length)?;
        whole.extend_from_slice(&data);
    }
    Err(too_slow(&format!("{} bytes received in {} s", whole.len(), began.elapsed().as_secs())))
}

/// The answer to an incomplete body.
pub(super) fn broken(error: &(dyn Error + 'static)) -> Refusal {
    match std::iter::successors(Some(error), |error| (*error).source()).find(|cause| cause.is::<Stalled>()) {
        Some(stalled) => too_slow(&stalled.to_string()),
        None => Refusal::bad_request(format!("the request body ended early: {error}")),
    }
}

fn too_slow(what: &str) -> Refusal {
    let message = format!("the request body arrives too slowly: {what}");
    Refusal::new(StatusCode::REQUEST_TIMEOUT, ErrorKind::Timeout, message)
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt as _, stream};

    use super::*;

    const CHUNK: usize = 100_000;

    /// A body of this many chunks, each of which takes this long.
    fn body(chunks: usize, pause: Duration) -> Body {
        let chunks = stream::iter(0..chunks).then(move |_| async move {
            tokio::time::sleep(pause).await;
            Ok::<_, std::convert::Infallible>(Bytes::from(vec![b'x'; CHUNK]))
        });
        Body::from_stream(chunks)
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_upload_arrives_and_a_trickle_is_refused() {
        // 20 kB/s for 25 minutes.
        let read = read_body(body(300, Duration::from_secs(5)), 300 * CHUNK).await;
        assert_eq!(read.unwrap().len(), 300 * CHUNK);
        // 1 kB/s.
        let began = Instant::now();
        let refusal = read_body(body(300, Duration::from_secs(100)), 300 * CHUNK).await.unwrap_err();
        assert_eq!(refusal.status(), StatusCode::REQUEST_TIMEOUT);
        assert_eq!(began.elapsed(), BODY_GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_over_the_limit_is_refused_and_a_declared_length_before_any_of_it_is_read() {
        let refusal = read_body(body(2, Duration::from_secs(1)), CHUNK).await.unwrap_err();
        assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let refusal = read_body(Body::from(vec![b'x'; 11]), 10).await.unwrap_err();
        assert_eq!(refusal.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }
}
