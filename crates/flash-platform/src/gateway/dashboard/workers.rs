//! The workers.
use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, response::Response};
use flash_dashboard::view::{Usage, Worker, WorkerState, WorkersOfType};
use http::{HeaderMap, StatusCode};

use super::{super::state::GatewayState, frame::frame, html};
use crate::pool::{Doing, WorkerLife};

/// Workers of one type and release that have ended, and are shown.
const MOST_ENDED: usize = 10;

/// `GET /_flash/workers`
pub(super) async fn page(State(state): State<Arc<GatewayState>>, headers: HeaderMap) -> Response {
    html(StatusCode::OK, flash_dashboard::workers(&frame(&state, &headers), &workers(&state)))
}

fn workers(state: &GatewayState) -> Vec<WorkersOfType> {
    let mut types: BTreeMap<String, WorkersOfType> = BTreeMap::new();
    for release in state.releases.live_and_past() {
        for pool in release.pools() {
            let own = types.entry(pool.worker_type.name.clone()).or_insert_with(|| WorkersOfType {
                name: pool.worker_type.name.clone(),
                compute: pool.worker_type.compute.label(),
                workers: Vec::new(),
            });
            let (living, ended): (Vec<_>, Vec<_>) =
                pool.lives().into_iter().partition(|life| life.ended.is_none());
            let shown = living.into_iter().chain(ended.into_iter().take(MOST_ENDED));
            own.workers.extend(shown.map(|life| worker(life, release.number)));
        }
    }
    let mut types: Vec<WorkersOfType> = types.into_values().collect();
    for own in &mut types {
        own.workers.sort_by_key(|worker| match &worker.ended {
            None => (false, worker.started_ms),
            Some((ended, _)) => (true, u64::MAX - ended),
        });
    }
    types
}

fn worker(life: WorkerLife, release: u64) -> Worker {
    let state = match life.doing {
        Doing::Starting => WorkerState::Starting,
        Doing::Idle => WorkerState::Idle,
        Doing::Busy => WorkerState::Busy,
        Doing::Stopping => WorkerState::Stopping,
        Doing::Ended => WorkerState::Ended,
        Doing::Crashed => WorkerState::Crashed,
    };
    Worker {
        id: life.id.to_string(),
        release,
        state,
        started_ms: life.started_ms,
        ready_ms: life.ready_ms,
        ended: life.ended,
        running: life.running,
        loading: life.loading,
        usage: life.usage.map(|own| Usage { cores: own.cores, memory_bytes: own.memory_bytes }),
        last_lines: life.last_lines,
    }
}
