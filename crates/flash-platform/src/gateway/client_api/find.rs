//! Finds the pool and the queue that an endpoint, or a job, belongs to.
use std::sync::Arc;

use flash_text::{Truncated, nearest};

use super::super::{error::Refusal, state::GatewayState};
use crate::{
    pool::Pool,
    queue::{JobId, Queue},
    release::Release,
};

/// The pool of an endpoint in the live release.
///
/// # Errors
/// 404 with the nearest known names, or some of all.
pub(super) fn pool_of<'a>(release: &'a Release, endpoint: &str) -> Result<&'a Arc<Pool>, Refusal> {
    release.pool(endpoint).ok_or_else(|| {
        let known: Vec<&str> = release.pools().map(|pool| pool.worker_type.name.as_str()).collect();
        let hint = match nearest(endpoint, known.iter().copied()) {
            none if none.is_empty() => named(&known),
            near => near,
        };
        Refusal::not_found(format!("no endpoint named `{}`{hint}", Truncated(endpoint)))
    })
}

/// How many names a message lists.
const LISTED: usize = 5;

/// What endpoints are named after, as the end of a message.
fn named(worker_types: &[&str]) -> String {
    let more = if worker_types.len() > LISTED { ", …" } else { "" };
    let listed: Vec<String> = worker_types.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
    format!("; endpoints have the names of worker types: {}{more}", listed.join(", "))
}

/// The queue of an endpoint in the live release.
///
/// # Errors
/// 404 as for its pool, 400 for a load-balanced endpoint.
pub(super) fn queue_of<'a>(release: &'a Release, endpoint: &str) -> Result<&'a Arc<Queue>, Refusal> {
    let pool = pool_of(release, endpoint)?;
    pool.queue().ok_or_else(|| {
        Refusal::bad_request(format!(
            "queue operations are not allowed on `{endpoint}`, which is load balanced: send HTTP requests to \
             its paths"
        ))
    })
}

/// The queues of an endpoint, starting with the live release. Clients may ask for a job even if the next release has
/// no such endpoint, or none is live.
///
/// # Errors
/// 404 when no release has such an endpoint.
pub(super) fn queues_of(state: &GatewayState, endpoint: &str) -> Result<Vec<Arc<Queue>>, Refusal> {
    let queue = |release: &Arc<Release>| release.pool(endpoint)?.queue().cloned();
    let queues: Vec<_> = state.releases.live_and_past().iter().filter_map(queue).collect();
    if queues.is_empty() {
        let live = state.releases.live().ok_or_else(|| state.nothing_live())?;
        queue_of(&live, endpoint)?;
    }
    Ok(queues)
}

/// The queue that knows a job: of the live release or of one before.
pub(super) fn queue_with(
    state: &GatewayState,
    endpoint: &str,
    job: &str,
) -> Result<(Arc<Queue>, JobId), Refusal> {
    let queues = queues_of(state, endpoint)?;
    let id = JobId::parse(job).ok_or_else(|| no_such_job(endpoint, job))?;
    // The live release last, because a job that moves meanwhile goes from an older release to a newer one.
    let found = queues.iter().rev().find(|queue| queue.knows(id));
    found.map(|queue| (queue.clone(), id)).ok_or_else(|| no_such_job(endpoint, job))
}

/// The answer for a job that no release knows.
pub(super) fn no_such_job(endpoint: &str, job: &str) -> Refusal {
    Refusal::not_found(format!(
        "endpoint `{}` has no job `{}`: results are kept for 30 minutes (1 minute for runsync), and a job is \
         deleted when its ttl expires",
        Truncated(endpoint),
        Truncated(job)
    ))
}
