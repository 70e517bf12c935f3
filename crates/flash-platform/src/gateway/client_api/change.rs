//! Changes by clients: `cancel`, `retry`, `purge-queue`, requeueing of dead jobs.
use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use super::{
    super::{error::Refusal, extract::Segments, respond::job_summary, state::GatewayState},
    find::{no_such_job, queue_with, queues_of},
    read,
};
use crate::queue::{ChangeError, JobId, Queue};

/// Maximum number of dead jobs that one request requeues.
const MAX_REQUEUED: usize = 10_000;

fn refused(endpoint: &str, job: &str, error: ChangeError) -> Refusal {
    match error {
        ChangeError::Unknown => no_such_job(endpoint, job),
        ChangeError::Ended | ChangeError::NotFailed => Refusal::bad_request(format!("job `{job}`: {error}")),
    }
}

/// Answers once the change is durable.
async fn changed(queue: &Queue, id: JobId, job: &str, status: &'static str) -> Result<Response, Refusal> {
    // Its status may have changed since; what matters is that the change is durable.
    queue.status(id).await?;
    Ok(job_summary(job, status))
}

pub(in super::super) async fn cancel(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, job)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    let (queue, id) = queue_with(&state, &endpoint, &job)?;
    match queue.cancel(id) {
        Ok(()) => changed(&queue, id, &job, "CANCELLED").await,
        // A late cancel is not an error: the answer is the final job.
        Err(ChangeError::Ended) => read::status(State(state), Segments((endpoint, job))).await,
        Err(error) => Err(refused(&endpoint, &job, error)),
    }
}

pub(in super::super) async fn retry(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, job)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    let (queue, id) = queue_with(&state, &endpoint, &job)?;
    queue.retry(id).map_err(|error| refused(&endpoint, &job, error))?;
    let queue = in_live_release(&state, &endpoint, queue).await;
    changed(&queue, id, &job, "IN_QUEUE").await
}

/// A release that has ended has no workers: a job that waits there again moves to the live one.
async fn in_live_release(state: &GatewayState, endpoint: &str, queue: Arc<Queue>) -> Arc<Queue> {
    let is_own = |own: &Arc<Queue>| Arc::ptr_eq(own, &queue);
    let has_ended = state
        .releases
        .live_and_past()
        .iter()
        .filter_map(|release| release.pool(endpoint))
        .any(|pool| pool.queue().is_some_and(is_own) && pool.is_over());
    let live = state.releases.live();
    let live = live.as_ref().and_then(|live| live.pool(endpoint)?.queue());
    match live {
        Some(live) if has_ended && !is_own(live) => {
            queue.hand_over(live).await;
            live.clone()
        }
        _ => queue,
    }
}

pub(in super::super) async fn purge(
    State(state): State<Arc<GatewayState>>,
    Segments(endpoint): Segments<String>,
) -> Result<Response, Refusal> {
    let queues = queues_of(&state, &endpoint)?;
    let mut removed = 0;
    for queue in &queues {
        removed += queue.purge().await;
    }
    for queue in &queues {
        queue.all_stored().await?;
    }
    Ok(Json(json!({ "removed": removed, "status": "completed" })).into_response())
}

/// Resets the attempts of a job that killed its workers.
pub(in super::super) async fn requeue_dead(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, job)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    let (queue, id) = queue_with(&state, &endpoint, &job)?;
    if !queue.is_dead(id) {
        return Err(Refusal::bad_request(format!(
            "job `{job}` did not kill its workers; to retry a failed job, use /v2/{endpoint}/retry/{job}"
        )));
    }
    retry(State(state), Segments((endpoint, job))).await
}

/// Like [`requeue_dead`], for all dead jobs.
pub(in super::super) async fn requeue_all_dead(
    State(state): State<Arc<GatewayState>>,
    Segments(endpoint): Segments<String>,
) -> Result<Response, Refusal> {
    let mut requeued = 0_usize;
    for queue in queues_of(&state, &endpoint)? {
        let ids = queue.dead(MAX_REQUEUED).into_iter();
        let back = ids.filter(|id| queue.retry(*id).is_ok()).count();
        if back > 0 {
            requeued += back;
            in_live_release(&state, &endpoint, queue).await.all_stored().await?;
        }
    }
    Ok(Json(json!({ "requeued": requeued })).into_response())
}
