//! The list of the latest requests.
use std::sync::Arc;

use axum::{extract::State, response::Response};
use flash_dashboard::view::{self, RequestFilter, RequestRow};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{
    super::{error::Refusal, extract::Parameters, state::GatewayState},
    frame::frame,
    html,
    overview::example,
    trail::trail,
};

/// Requests that are listed.
const MOST: usize = 200;
/// Hops of each worker type that are looked at without a search: those of so many requests, and of their calls.
const LOOKED_AT: usize = 1_000;

/// What is searched for; empty fields of the form count as missing.
#[derive(Deserialize)]
pub(super) struct Search {
    #[serde(default)]
    id: String,
    #[serde(default)]
    function: String,
    #[serde(default)]
    state: String,
}

/// `GET /_flash/requests`
pub(super) async fn page(
    State(state): State<Arc<GatewayState>>,
    Parameters(search): Parameters<Search>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Search { id, function, state: name } = search;
    let trimmed = |text: String| text.trim().to_owned();
    let filter =
        RequestFilter { id: trimmed(id), function: trimmed(function), state: view::State::from_name(&name) };
    let view = requests(&state, &headers, filter);
    Ok(html(StatusCode::OK, flash_dashboard::requests(&frame(&state, &headers), &view)))
}

fn requests(state: &GatewayState, headers: &HeaderMap, filter: RequestFilter) -> view::Requests {
    let is_all = filter.id.is_empty() && filter.function.is_empty() && filter.state.is_none();
    let limit = if is_all { LOOKED_AT } else { usize::MAX };
    let mut rows: Vec<RequestRow> = trail(state, limit, |_| true)
        .into_iter()
        .filter_map(|(id, hops)| {
            let cost = hops.iter().map(|hop| hop.cost).fold(0, u64::saturating_add);
            let count = hops.len();
            let fits_id = id.contains(&filter.id)
                || hops.iter().any(|hop| hop.job.as_ref().is_some_and(|job| job.contains(&filter.id)));
            let first = hops.into_iter().next()?;
            let row = RequestRow { id, first, hops: count, cost };
            (fits_id && fits(&row, &filter)).then_some(row)
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.first.began_ms));
    let has_more = rows.len() > MOST;
    rows.truncate(MOST);
    let live = state.releases.live();
    let functions = live.iter().flat_map(|live| &live.manifest.functions).map(|own| own.call_name());
    view::Requests {
        filter,
        rows,
        has_more,
        functions: functions.collect(),
        example: live.as_ref().and_then(|live| example(state, live, headers)),
    }
}

fn fits(row: &RequestRow, filter: &RequestFilter) -> bool {
    let function = row.first.function.as_deref().unwrap_or_default();
    function.contains(&filter.function) && filter.state.is_none_or(|state| row.first.state == state)
}
