//! Views of a whole endpoint: `health`, `metrics`, `requests`, `dead`.
use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use flash_protocol::wire::job::{JobObject, JobStatus};
use flash_text::Truncated;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        error::Refusal,
        extract::{Parameters, Segments},
        state::GatewayState,
    },
    find::{pool_of, queues_of},
};
use crate::{
    pool::{Phase, Pool},
    queue::{Filter, JobId},
};

/// Jobs of one page: default and most.
const PAGE: (usize, usize) = (100, 1000);

fn workers(pool: &Pool) -> Value {
    let load = pool.load();
    let phases = pool.phases();
    let count = |phase| phases.iter().filter(|own| **own == phase).count();
    let idle = load.consumers.iter().filter(|(_, _, idle)| idle.is_some()).count();
    json!({
        "idle": idle,
        "initializing": count(Phase::Starting),
        "ready": count(Phase::Ready),
        "running": load.consumers.len() - idle,
        "throttled": pool.throttled(),
        "unhealthy": pool.unhealthy(),
    })
}

fn jobs(pool: &Pool) -> Value {
    let load = pool.load();
    let totals = pool.queue().map(|queue| queue.totals()).unwrap_or_default();
    json!({
        "completed": totals.completed,
        "failed": totals.failed,
        "inProgress": load.running,
        "inQueue": load.waiting + load.low_priority + load.delayed,
        "retried": totals.retried,
    })
}

pub(in super::super) async fn health(
    State(state): State<Arc<GatewayState>>,
    Segments(endpoint): Segments<String>,
) -> Result<Response, Refusal> {
    let release = state.live()?;
    let pool = pool_of(&release, &endpoint)?;
    Ok(Json(json!({ "jobs": jobs(pool), "workers": workers(pool) })).into_response())
}

/// Like `health`, with the IDs of ready workers, in the format that the provider's deploy tool reads, and with the
/// memory used by the jobs of all endpoints.
pub(in super::super) async fn metrics(
    State(state): State<Arc<GatewayState>>,
    Segments(endpoint): Segments<String>,
) -> Result<Response, Refusal> {
    let release = state.live()?;
    let pool = pool_of(&release, &endpoint)?;
    let load = pool.load();
    let ready: Vec<&str> = load.consumers.iter().map(|(worker, _, _)| worker.as_ref()).collect();
    let budget = &state.budget;
    let memory = json!({ "heldBytes": budget.held(), "limitBytes": budget.limit() });
    let body = json!({
        "jobs": jobs(pool),
        "memory": memory,
        "readyWorkers": ready,
        "workers": workers(pool),
    });
    Ok(Json(body).into_response())
}

/// Which jobs, as a query. Statuses as on the wire.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in super::super) struct Listing {
    status: Option<JobStatus>,
    worker_id: Option<String>,
    request_id: Option<String>,
    function: Option<String>,
    limit: Option<usize>,
    before: Option<String>,
}

/// Jobs of `run` and `runsync`, the latest first, without outputs.
pub(in super::super) async fn requests(
    State(state): State<Arc<GatewayState>>,
    Segments(endpoint): Segments<String>,
    Parameters(listing): Parameters<Listing>,
) -> Result<Response, Refusal> {
    let Listing { status, worker_id, request_id, function, limit, before } = listing;
    let limit = limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let before = match before {
        None => None,
        Some(text) => Some(JobId::parse(&text).ok_or_else(|| {
            let text = Truncated(&text);
            Refusal::bad_request(format!("`before` is `{text}`, expected the `next` of the previous page"))
        })?),
    };
    let filter = Filter { status, worker: worker_id, request_id, function };
    let mut pages = Vec::new();
    for queue in queues_of(&state, &endpoint)? {
        pages.push(queue.stored_page(&filter, before, limit).await?);
    }
    // Each page goes back to its own `next`; only jobs later than all of these are complete.
    let horizon = pages.iter().filter_map(|page| page.next).max();
    let id = |job: &JobObject| JobId::parse(&job.id);
    let mut jobs: Vec<JobObject> = pages.into_iter().flat_map(|page| page.jobs).collect();
    jobs.retain(|job| horizon.is_none() || id(job) >= horizon);
    jobs.sort_by_key(|job| std::cmp::Reverse(id(job)));
    let more = jobs.len() > limit;
    jobs.truncate(limit);
    let next = if more { jobs.last().and_then(id) } else { horizon };
    Ok(Json(json!({ "requests": jobs, "next": next.map(|id| id.to_string()) })).into_response())
}

/// Jobs that killed their workers on every attempt, the latest first.
pub(in super::super) async fn dead(
    State(state): State<Arc<GatewayState>>,
    Segments(endpoint): Segments<String>,
) -> Result<Response, Refusal> {
    let mut jobs: Vec<JobObject> = Vec::new();
    for queue in queues_of(&state, &endpoint)? {
        jobs.extend(queue.stored_dead(PAGE.1).await?);
    }
    Ok(Json(json!({ "dead": jobs })).into_response())
}
