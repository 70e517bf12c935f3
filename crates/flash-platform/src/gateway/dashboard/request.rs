//! One request.
use std::{num::NonZeroUsize, sync::Arc};

use axum::{extract::State, response::Response};
use flash_dashboard::view::{self, Hop, RequestHop, Value};
use flash_logs::{LogQuery, Selected, Tail};
use flash_text::Truncated;
use http::{HeaderMap, Method, StatusCode};

use super::{
    super::{costs, error::Refusal, extract::Segments, state::GatewayState},
    frame::frame,
    html, is_for_browser,
    logs::lines,
    refused,
    trail::{Known, starting, starts, trail},
};
use crate::{
    queue::{JobId, MAX_SHOWN_INPUT, Queue},
    sample::sample,
};

/// Lines of the log that are shown.
const LINES: NonZeroUsize = NonZeroUsize::new(500).expect("it is not zero");

/// `GET /_flash/requests/{request_id}`: the page for people, the costs alone for programs.
pub(super) async fn page_or_costs(
    State(state): State<Arc<GatewayState>>,
    Segments(id): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    if !is_for_browser(&Method::GET, &headers) {
        return costs::request(State(state), Segments(id)).await;
    }
    let Some((id, hops)) = hops_of(&state, &id) else {
        let message = format!(
            "Nothing is known of `{}`. The latest calls of each worker type are kept, until this platform ends.",
            Truncated(&id)
        );
        return Ok(refused(&state, &headers, "No such request", &Refusal::not_found(message)));
    };
    let starts = starts(&state);
    let mut shown = Vec::with_capacity(hops.len());
    for hop in hops {
        let starting = starting(&hop, &starts);
        shown.push(with_job(&state, Hop { starting, ..hop }).await);
    }
    let query = LogQuery {
        select: Selected { request: Some(id.clone()), ..Selected::default() },
        tail: Tail::Last(LINES),
        follow: false,
    };
    let lines = lines(&state, &query).await.unwrap_or_default();
    let view = view::Request { id, hops: shown, lines };
    Ok(html(StatusCode::OK, flash_dashboard::request(&frame(&state, &headers), &view)))
}

/// The hops of a request, which may be named by one of its jobs, and its ID.
fn hops_of(state: &GatewayState, named: &str) -> Option<(String, Vec<Hop>)> {
    let trail = trail(state, usize::MAX);
    let has_job = |hops: &[Known]| hops.iter().any(|hop| hop.job() == Some(named));
    let found = trail.requests.get_key_value(named);
    let (id, hops) = found.or_else(|| trail.requests.iter().find(|(_, hops)| has_job(hops)))?;
    Some((id.clone(), hops.iter().map(|hop| trail.show(hop)).collect()))
}

/// A hop with what its queue still knows of its job.
async fn with_job(state: &GatewayState, hop: Hop) -> RequestHop {
    let found = hop.job.as_deref().and_then(|job| queue_with(state, &hop.worker_type, job));
    let (mut input, mut output) = (None, None);
    let hides_values = state.dashboard.hides_values();
    if let Some((queue, id)) = found.as_ref().filter(|_| !hides_values) {
        input = queue.input(*id).map(|input| cut(input.get()));
        let job = queue.status(*id).await.ok().flatten();
        output = job.and_then(|job| job.output).map(|output| cut(output.get()));
    }
    let run_again = hop.job.is_some().then(|| match &input {
        Some(Value { text, bytes }) if text.len() == *bytes => text.clone(),
        _ => example(state, &hop),
    });
    RequestHop {
        hides_values,
        can_cancel: found.is_some() && !hop.state.is_final(),
        can_retry: found.is_some() && matches!(hop.state, view::State::Failed | view::State::TimedOut),
        input,
        output,
        run_again,
        hop,
    }
}

/// An input that fits the function of a hop.
fn example(state: &GatewayState, hop: &Hop) -> String {
    let live = state.releases.live();
    let input = live.and_then(|live| {
        let own = live
            .manifest
            .functions
            .iter()
            .find(|own| own.worker == hop.worker_type && Some(own.call_name()) == hop.function)?;
        sample(own.input.as_ref()?, &live.manifest.definitions)
    });
    let input = input.and_then(|input| serde_json::to_string_pretty(&input).ok());
    input.unwrap_or_else(|| "{}".to_owned())
}

/// The queue that has this job.
pub(super) fn queue_with(state: &GatewayState, worker_type: &str, job: &str) -> Option<(Arc<Queue>, JobId)> {
    let id = JobId::parse(job)?;
    let releases = state.releases.live_and_past();
    // The live release last: a job that moves meanwhile goes from an older release to a newer one.
    let queues = releases.iter().rev().filter_map(|release| release.pool(worker_type)?.queue());
    queues.into_iter().find(|queue| queue.knows(id)).map(|queue| (queue.clone(), id))
}

/// The beginning of JSON text, with line breaks where it is short enough to be whole.
fn cut(json: &str) -> Value {
    if json.len() > MAX_SHOWN_INPUT {
        let text = json[..json.floor_char_boundary(MAX_SHOWN_INPUT)].to_owned();
        return Value { text, bytes: json.len() };
    }
    let pretty = serde_json::from_str::<serde_json::Value>(json).ok();
    let text = pretty.and_then(|value| serde_json::to_string_pretty(&value).ok());
    let text = text.unwrap_or_else(|| json.to_owned());
    Value { bytes: text.len(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_cut_at_a_character_and_says_how_long_it_is() {
        let Value { text, bytes } = cut("{\"a\":1}");
        assert_eq!((text.as_str(), bytes), ("{\n  \"a\": 1\n}", text.len()));
        let long = format!("\"{}\"", "é".repeat(MAX_SHOWN_INPUT));
        let Value { text, bytes } = cut(&long);
        assert!(text.len() <= MAX_SHOWN_INPUT && text.ends_with('é'));
        assert_eq!(bytes, long.len());
    }
}
