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
    trail::{Known, Trail, trail},
};

/// Requests of one page.
const PAGE: usize = 200;
/// Hops of each worker type that are looked at for each page without a search: those of so many requests, and of their
/// calls.
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
    /// From 1.
    page: Option<usize>,
}

/// `GET /_flash/requests`
pub(super) async fn page(
    State(state): State<Arc<GatewayState>>,
    Parameters(search): Parameters<Search>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Search { id, function, state: name, page } = search;
    let trimmed = |text: String| text.trim().to_owned();
    let filter =
        RequestFilter { id: trimmed(id), function: trimmed(function), state: view::State::from_name(&name) };
    let view = requests(&state, &headers, filter, page.unwrap_or(1).max(1));
    Ok(html(StatusCode::OK, flash_dashboard::requests(&frame(&state, &headers), &view)))
}

fn requests(state: &GatewayState, headers: &HeaderMap, filter: RequestFilter, page: usize) -> view::Requests {
    let is_all = filter.id.is_empty() && filter.function.is_empty() && filter.state.is_none();
    let limit = if is_all { LOOKED_AT.saturating_mul(page) } else { usize::MAX };
    let trail = trail(state, limit);
    let mut found: Vec<(u64, &String, &Vec<Known>)> = trail
        .requests
        .iter()
        .filter(|(id, hops)| fits(&trail, id, hops, &filter))
        .filter_map(|(id, hops)| Some((hops.first()?.began_ms(), id, hops)))
        .collect();
    // Those that began together keep one order, so that none is on two pages.
    found.sort_unstable_by_key(|(began, id, _)| (std::cmp::Reverse(*began), *id));
    let of_page = found.iter().skip((page - 1).saturating_mul(PAGE)).take(PAGE);
    let rows = of_page.filter_map(|(_, id, hops)| {
        let cost = hops.iter().map(Known::cost).fold(0, u64::saturating_add);
        Some(RequestRow { id: (*id).clone(), first: trail.show(hops.first()?), hops: hops.len(), cost })
    });
    let live = state.releases.live();
    let functions = live.iter().flat_map(|live| &live.manifest.functions).map(|own| own.call_name());
    view::Requests {
        rows: rows.collect(),
        before: (page - 1).saturating_mul(PAGE),
        page,
        has_more: found.len() > page.saturating_mul(PAGE),
        filter,
        functions: functions.collect(),
        example: live.as_ref().and_then(|live| example(state, live, headers)),
    }
}

/// Whether a request is searched for: by its ID or one of its jobs, and by its first hop.
fn fits(trail: &Trail, id: &str, hops: &[Known], filter: &RequestFilter) -> bool {
    let Some(first) = hops.first() else { return false };
    let has_id = |own: &str| own.contains(&filter.id);
    (has_id(id) || hops.iter().any(|hop| hop.job().is_some_and(has_id)))
        && trail.called(first).unwrap_or_default().contains(&filter.function)
        && filter.state.is_none_or(|state| first.state() == state)
}
