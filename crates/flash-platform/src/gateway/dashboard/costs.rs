//! What was spent.
use std::sync::Arc;

use axum::{extract::State, response::Response};
use flash_dashboard::view::{Costs, DayCost, FunctionCost, TypeCost};
use http::{HeaderMap, StatusCode};

use super::{
    super::{dashboard_state::DailyCost, state::GatewayState},
    frame::frame,
    html,
};
use crate::{history::Row, meter::TypeTotal};

/// `GET /_flash/costs`
pub(super) async fn page(State(state): State<Arc<GatewayState>>, headers: HeaderMap) -> Response {
    let view = Costs { days: days(&state).await, ..costs(&state) };
    html(StatusCode::OK, flash_dashboard::costs(&frame(&state, &headers), &view))
}

/// What was spent on each day. What cannot be read now is left out: the page asks again in a moment.
async fn days(state: &GatewayState) -> Vec<DayCost> {
    let Some(daily) = state.dashboard.options.daily_costs.clone() else { return Vec::new() };
    let days = tokio::task::spawn_blocking(move || daily.latest()).await;
    let day = |own: DailyCost| DayCost {
        day_ms: own.day_ms,
        types: own.workers.into_iter().map(|(name, bill)| (name, bill.0)).collect(),
    };
    days.ok().and_then(Result::ok).unwrap_or_default().into_iter().map(day).collect()
}

fn costs(state: &GatewayState) -> Costs {
    let totals = state.billing.totals();
    let bill = state.billing.bill();
    let per_hour = |name: &str| Some(bill.get(name)?.price?.0.saturating_mul(3600));
    let of_type = |own: &TypeTotal| TypeCost {
        name: own.worker_type.clone(),
        bill: own.bill.0,
        start: own.start.0,
        run: own.run.0,
        idle: own.bill.0.saturating_sub(own.start.0).saturating_sub(own.run.0),
        per_hour: per_hour(&own.worker_type),
        workers: own.started,
    };
    let now = Row::now(&state.releases);
    Costs {
        types: totals.workers.iter().map(of_type).collect(),
        functions: totals
            .functions
            .into_iter()
            .map(|own| FunctionCost {
                worker_type: own.worker_type,
                function: own.function,
                calls: own.calls,
                ran: own.ran,
                cost: own.cost.0,
            })
            .collect(),
        per_hour: now.types.iter().map(|own| own.per_hour).fold(0, u64::saturating_add),
        days: Vec::new(),
        since_ms: state.dashboard.started_ms,
        command: state.dashboard.options.cost_command.clone(),
    }
}
