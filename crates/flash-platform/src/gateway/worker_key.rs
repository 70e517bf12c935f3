//! The keys of workers: whether a request comes from the worker that its path names.
use std::sync::Arc;

use flash_protocol::ErrorKind;
use http::{HeaderMap, StatusCode, header};

use super::error::Refusal;
use crate::{pool::Pool, releases::Releases, worker_id::WorkerId};

/// The pool that a worker belongs to, if its key opens it.
///
/// # Errors
/// 401 for a wrong key, also if the worker does not exist, so that nobody can find out which workers exist.
pub(super) fn admit(
    releases: &Releases,
    endpoint: &str,
    worker: &WorkerId,
    headers: &HeaderMap,
) -> Result<Arc<Pool>, Refusal> {
    let key = key_in(headers);
    let pools = releases.worker_pools(endpoint);
    pools.into_iter().find(|pool| pool.admits(worker, key)).ok_or_else(|| {
        Refusal::new(StatusCode::UNAUTHORIZED, ErrorKind::Refused, "wrong key for this worker")
    })
}

/// The key that a worker sends; empty without one.
pub(super) fn key_in(headers: &HeaderMap) -> &str {
    let given = headers.get(header::AUTHORIZATION).and_then(|key| key.to_str().ok()).unwrap_or_default();
    given.strip_prefix("Bearer ").unwrap_or(given)
}
