//! Worker affinity: the header `X-Runpod-Worker-Id`, or the last event that a client of a stream has read.
use std::{sync::Arc, time::Duration};

use flash_protocol::{ErrorKind, wire::events::KeptId};
use flash_text::Truncated;
use http::{HeaderMap, StatusCode};

use super::{
    super::error::{Refusal, WORKER_ID},
    limits::STRICT_HOLD,
};
use crate::{
    balancer::{NoBackend, WaitLimit, WorkerChoice},
    pool::{Pool, Resumed, resume},
    worker_id::WorkerId,
};

/// What a client that reconnects to a stream has read.
const LAST_EVENT_ID: &str = "last-event-id";

/// The content of the header.
#[derive(Debug, PartialEq, Eq)]
enum Affinity {
    /// Nothing.
    None,
    /// `ID`: this worker if it has room.
    Soft(WorkerId),
    /// `strict ID`: this worker or none.
    Strict(WorkerId),
    /// `strict-resume ID`: as strict, and it is started again if it was scaled down.
    Resume(WorkerId),
}

impl Affinity {
    fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let Some(value) = headers.get(WORKER_ID) else { return Ok(Self::of_stream(headers)) };
        let words: Vec<&str> = value.to_str().unwrap_or("? ?").split_whitespace().collect();
        match words.as_slice() {
            [] => Ok(Self::None),
            ["strict", worker] => Ok(Self::Strict((*worker).into())),
            ["strict-resume", worker] => Ok(Self::Resume((*worker).into())),
            [worker] if !matches!(*worker, "strict" | "strict-resume") => Ok(Self::Soft((*worker).into())),
            _ => Err(Refusal::bad_request(format!(
                "header `{WORKER_ID}`: expected `WORKER`, `strict WORKER` or `strict-resume WORKER`"
            ))),
        }
    }

    /// The worker that keeps the events after the client's last one.
    fn of_stream(headers: &HeaderMap) -> Self {
        let last = headers.get(LAST_EVENT_ID).and_then(|last| KeptId::parse(last.to_str().ok()?));
        match last {
            Some(KeptId { worker, .. }) if !worker.is_empty() => Self::Soft(worker.into()),
            _ => Self::None,
        }
    }
}

/// The requested worker, and how long to wait for it. Starts it if requested.
///
/// # Errors
/// 400 for a header that is none of the known forms; 404 or 503 for a worker that cannot be resumed.
pub(super) async fn choice(
    pool: &Arc<Pool>,
    headers: &HeaderMap,
) -> Result<(WorkerChoice, WaitLimit), Refusal> {
    let hold = pool.worker_type.start_allowance();
    let strict_hold = hold.max(STRICT_HOLD);
    Ok(match Affinity::of(headers)? {
        Affinity::None => (WorkerChoice::Any, WaitLimit::of(hold)),
        Affinity::Soft(worker) => (WorkerChoice::Prefer(worker), WaitLimit::of(hold)),
        Affinity::Strict(worker) => (WorkerChoice::Only(worker), WaitLimit::of(strict_hold)),
        Affinity::Resume(worker) => {
            let limit = WaitLimit::of(strict_hold);
            let resumed = tokio::time::timeout(strict_hold, resume(pool, &worker)).await;
            match resumed.map_err(|_| timed_out(&worker, strict_hold))? {
                Resumed::Yes => {}
                Resumed::Unknown => return Err(gone(&worker)),
                Resumed::NoRoom => {
                    let (_, most) = pool.limits();
                    let message = format!(
                        "worker `{worker}` cannot be resumed: {most} of {most} workers of type `{}` are running",
                        pool.worker_type.name
                    );
                    return Err(unavailable(message));
                }
            }
            (WorkerChoice::Only(worker), limit)
        }
    })
}

/// The answer if there is no worker for a request.
pub(super) fn no_worker(none: &NoBackend, choice: &WorkerChoice, worker_type: &str) -> Refusal {
    let message = format!("worker type `{worker_type}`: {none}");
    match (none, choice) {
        (NoBackend::TimedOut(limit), WorkerChoice::Only(worker)) => timed_out(worker, *limit),
        (NoBackend::Gone, WorkerChoice::Only(worker)) => gone(worker),
        (NoBackend::Full(_), _) => Refusal::too_many(message),
        (NoBackend::TimedOut(_) | NoBackend::Broken(_) | NoBackend::Gone, _) => unavailable(message),
    }
}

fn unavailable(message: String) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, ErrorKind::NoWorker, message)
}

fn timed_out(worker: &WorkerId, limit: Duration) -> Refusal {
    let message = format!(
        "timed out waiting for worker `{}`: all its slots were taken for {} s",
        Truncated(worker),
        limit.as_secs()
    );
    Refusal::new(StatusCode::BAD_REQUEST, ErrorKind::Timeout, message).coded("worker_timeout")
}

fn gone(worker: &WorkerId) -> Refusal {
    let message = format!(
        "worker `{}` is gone: send the request without `strict` to get another worker",
        Truncated(worker)
    );
    Refusal::not_found(message).coded("affinity_worker_gone")
}

#[cfg(any(test, fuzzing))]
flash_test_support::fuzz_target!("affinity", |data| {
    let Ok(value) = http::HeaderValue::from_bytes(data) else { return };
    let _ = Affinity::of(&HeaderMap::from_iter([(http::HeaderName::from_static(WORKER_ID), value)]));
});

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(value: &'static str) -> Option<Affinity> {
        let mut headers = HeaderMap::new();
        headers.insert(WORKER_ID, HeaderValue::from_static(value));
        Affinity::of(&headers).ok()
    }

    #[test]
    fn the_forms_of_the_header_are_those_of_the_provider() {
        assert_eq!(Affinity::of(&HeaderMap::new()).ok(), Some(Affinity::None));
        assert_eq!(read(""), Some(Affinity::None));
        assert_eq!(read("web-1"), Some(Affinity::Soft("web-1".into())));
        assert_eq!(read("strict web-1"), Some(Affinity::Strict("web-1".into())));
        assert_eq!(read(" strict-resume  web-1 "), Some(Affinity::Resume("web-1".into())));
    }

    #[test]
    fn a_client_that_reconnects_to_a_stream_prefers_the_worker_that_keeps_it() {
        let of = |id: &str| {
            Affinity::of(&HeaderMap::from_iter([(
                http::HeaderName::from_static(LAST_EVENT_ID),
                id.parse().unwrap(),
            )]))
        };
        let stream = "0123456789abcdef0123456789abcdef";
        assert_eq!(of(&format!("7-{stream}-web-1")).ok(), Some(Affinity::Soft("web-1".into())));
        for other in ["7", "a-b-c", &format!("7-{stream}-"), &format!("7-{stream}"), "7-short-web-1"] {
            assert_eq!(of(other).ok(), Some(Affinity::None), "{other}");
        }
    }

    #[test]
    fn anything_else_in_the_header_is_refused() {
        for wrong in ["strict", "strict-resume", "loose web-1", "strict web-1 web-2", "w\u{80}"] {
            let mut headers = HeaderMap::new();
            headers.insert(WORKER_ID, HeaderValue::from_bytes(wrong.as_bytes()).unwrap());
            assert!(Affinity::of(&headers).is_err(), "{wrong}");
        }
    }
}
