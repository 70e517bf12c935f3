//! What is around every page.
use flash_dashboard::view::{BuildProblem, Frame, Page};
use http::HeaderMap;
use jiff::Timestamp;

use super::{super::state::GatewayState, session::has_session};
use crate::hops::now_ms;

/// The frame of a page at this moment.
pub(super) fn frame(state: &GatewayState, headers: &HeaderMap) -> Frame {
    let live = state.releases.live();
    let problem = state.dashboard.build_state.problem();
    Frame {
        app: live.as_ref().map(|live| live.manifest.app.name.clone()),
        place: state.dashboard.options.place.clone(),
        release: live.as_ref().map(|live| live.number),
        pages: pages(state),
        has_session: state.access_control.hosts_without_key().is_none() && has_session(state, headers),
        build_problem: problem.map(|problem| BuildProblem { time_ms: problem.time_ms, text: problem.text }),
        now_ms: now_ms(),
    }
}

/// The pages that have something to show here.
fn pages(state: &GatewayState) -> Vec<Page> {
    let live = state.releases.live();
    let has_queue = live.iter().flat_map(|live| live.pools()).any(|pool| pool.queue().is_some());
    let has_models = live.iter().flat_map(|live| live.pools()).any(|pool| {
        !pool.tally().models().is_empty()
            || !pool.tally().batches().is_empty()
            || !pool.model_loads().is_empty()
    });
    let is_there = |page: &Page| match page {
        Page::Overview | Page::Requests | Page::Workers | Page::Costs => true,
        Page::Logs => state.dashboard.options.log.is_some(),
        Page::Failed => has_queue,
        Page::Schedules => !state.dashboard.schedules.overview(Timestamp::now()).is_empty(),
        Page::Models => has_models,
        Page::Releases => state.dashboard.options.releases.is_some(),
    };
    Page::ALL.into_iter().filter(is_there).collect()
}
