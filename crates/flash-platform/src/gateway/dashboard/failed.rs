//! Jobs without a result.
use std::{sync::Arc, time::Duration};

use axum::{extract::State, response::Response};
use flash_dashboard::view::{Failed, FailedJob};
use http::{HeaderMap, StatusCode};

use super::{super::state::GatewayState, frame::frame, html, trail::pools};
use crate::{
    hops::now_ms,
    queue::{Shown, ShownJob},
};

/// Jobs that are shown, of each kind.
const MOST: usize = 100;

/// `GET /_flash/failed`
pub(super) async fn page(State(state): State<Arc<GatewayState>>, headers: HeaderMap) -> Response {
    let view = Failed { dead: jobs(&state, Shown::Dead), failed: jobs(&state, Shown::Failed) };
    html(StatusCode::OK, flash_dashboard::failed(&frame(&state, &headers), &view))
}

/// By worker type, the latest first.
fn jobs(state: &GatewayState, which: Shown) -> Vec<FailedJob> {
    let now = now_ms();
    let mut jobs: Vec<FailedJob> = Vec::new();
    for pool in pools(state) {
        let found = pool.queue().map(|queue| queue.shown(which, MOST)).unwrap_or_default();
        jobs.extend(found.into_iter().map(|job| failed(&pool.worker_type.name, job, now)));
    }
    jobs.sort_by(|one, other| {
        one.worker_type.cmp(&other.worker_type).then(other.submitted_ms.cmp(&one.submitted_ms))
    });
    jobs.truncate(MOST);
    jobs
}

fn failed(worker_type: &str, job: ShownJob, now: u64) -> FailedJob {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    FailedJob {
        worker_type: worker_type.to_owned(),
        job: job.id.to_string(),
        request_id: Some(job.request_id),
        function: job.function,
        submitted_ms: now.saturating_sub(millis(job.age)),
        attempts: job.attempts,
        error: job.error.unwrap_or_else(|| job.status.as_str().to_owned()),
    }
}
