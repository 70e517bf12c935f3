//! Functions that run at times of the clock.
use std::sync::Arc;

use axum::{extract::State, response::Response};
use flash_dashboard::view::{self, LastRun, Schedule};
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;

use super::{super::state::GatewayState, frame::frame, html, trail::state_of};
use crate::schedule::{ScheduleOverview, ScheduleRun};

/// `GET /_flash/schedules`
pub(super) async fn page(State(state): State<Arc<GatewayState>>, headers: HeaderMap) -> Response {
    let all = state.dashboard.schedules.overview(Timestamp::now());
    let view: Vec<Schedule> = all.into_iter().map(schedule).collect();
    html(StatusCode::OK, flash_dashboard::schedules(&frame(&state, &headers), &view))
}

fn schedule(own: ScheduleOverview) -> Schedule {
    let millis = |ms: i64| u64::try_from(ms).unwrap_or_default();
    let last = |run: ScheduleRun| LastRun {
        job: run.job,
        started_ms: millis(run.started_ms),
        state: match (run.ended, run.is_running) {
            (Some(status), _) => Some(state_of(status)),
            (None, true) => Some(view::State::Running),
            (None, false) => None,
        },
    };
    Schedule {
        function: own.function,
        worker_type: own.worker,
        when: format!("{} {}", own.schedule.cron, own.schedule.timezone),
        next_ms: own.next_ms.map(millis),
        is_paused: own.is_paused,
        problem: own.problem,
        last: own.last.map(last),
    }
}
