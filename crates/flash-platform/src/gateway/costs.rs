//! Costs: the bill, single requests, and the headers of an answer.
use std::{fmt::Write as _, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use flash_text::Truncated;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};

use super::{error::Refusal, extract::Segments, state::GatewayState};
use crate::meter::{Billing, Charge, Hop, KEPT_REQUESTS, RequestCost, Sums};

/// The total cost of a request up to the head of its answer.
const COST: HeaderName = HeaderName::from_static("x-flash-cost-nanodollars");
/// The same by worker type, in order of the hops.
const HOPS: HeaderName = HeaderName::from_static("x-flash-cost-hops");
/// Of the second header: some servers between take no more than 4 KB in all.
const MAX_HOPS_BYTES: usize = 1024;

/// Adds the cost of a request so far to the headers of its answer, if anything ran for it.
pub(super) fn say(billing: &Billing, request_id: &str, response: &mut Response) {
    // The cost of the load-balanced worker that answers; it grows until the body has ended.
    let own = response.extensions_mut().remove::<Charge>();
    let ended = billing.requests().of(request_id);
    if own.is_none() && ended.is_none() {
        return;
    }
    let (total, hops) = in_short(own.as_ref(), &ended.unwrap_or_default());
    let headers = response.headers_mut();
    headers.insert(COST, HeaderValue::from(total));
    if let Ok(hops) = HeaderValue::from_str(&hops) {
        headers.insert(HOPS, hops);
    }
}

/// The sum, and the sums by worker type: `web=120, gpu=900`.
fn in_short(own: Option<&Charge>, ended: &RequestCost) -> (u64, String) {
    let mut by_type: Vec<(&str, u64)> = Vec::with_capacity(4);
    let own = own.map(|share| (&*share.worker_type, share.amount.0));
    let hops = ended.hops.iter().map(|hop| (&*hop.worker_type, hop.cost.0));
    for (name, cost) in own.into_iter().chain(hops) {
        match by_type.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum = sum.saturating_add(cost),
            None => by_type.push((name, cost)),
        }
    }
    let mut other = ended.other.0;
    let mut text = String::with_capacity(64);
    for (name, cost) in by_type {
        // Room for a name of 63 letters and a number of 20 digits, and for the rest.
        if text.len() + 128 > MAX_HOPS_BYTES {
            other = other.saturating_add(cost);
            continue;
        }
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{name}={cost}");
    }
    if other > 0 {
        let _ = write!(text, ", other={other}");
    }
    (ended.total.0.saturating_add(own.map_or(0, |(_, cost)| cost)), text)
}

/// One request: its hops, their workers and their cost.
pub(super) async fn request(
    State(state): State<Arc<GatewayState>>,
    Segments(request_id): Segments<String>,
) -> Result<Response, Refusal> {
    let Some(cost) = state.billing.requests().of(&request_id) else {
        return Err(Refusal::not_found(format!(
            "no costs for request `{}`: costs are kept for the latest {KEPT_REQUESTS} requests, from the end \
             of their first job; the request ID is in the response header x-request-id",
            Truncated(&request_id)
        )));
    };
    let hop = |hop: &Hop| {
        json!({
            "workerType": hop.worker_type,
            "function": hop.function,
            "workerId": hop.worker,
            "nanoDollars": hop.cost,
        })
    };
    let mut body = json!({
        "requestId": request_id,
        "nanoDollars": cost.total,
        "hops": cost.hops.iter().map(hop).collect::<Vec<_>>(),
    });
    if cost.other.0 > 0 {
        body["otherNanoDollars"] = json!(cost.other);
    }
    Ok(Json(body).into_response())
}

/// Everything since the platform started, by worker type and in all.
pub(super) async fn bill(State(state): State<Arc<GatewayState>>) -> Response {
    let mut total = Sums::default();
    let mut worker_types = Map::new();
    for (name, bill) in state.billing.bill() {
        total += bill.sums;
        let mut body = sums(&bill.sums);
        body["pricePerSecond"] = json!(bill.price);
        worker_types.insert(name.to_string(), body);
    }
    Json(json!({ "workerTypes": worker_types, "total": sums(&total) })).into_response()
}

fn sums(sums: &Sums) -> Value {
    // Holds up to eighteen billion dollars.
    let amount = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
    #[expect(clippy::cast_precision_loss, reason = "exact to the microsecond for centuries")]
    let seconds = |time: u128| time as f64 / 1e9;
    json!({
        "billNanoDollars": amount(sums.bill),
        "startNanoDollars": amount(sums.start),
        "runNanoDollars": amount(sums.run),
        "idleNanoDollars": amount(sums.idle()),
        "startSeconds": seconds(sums.start_time),
        "runSeconds": seconds(sums.run_time),
        "idleSeconds": seconds(sums.idle_time()),
        "workers": sums.workers,
    })
}

#[cfg(test)]
mod tests {
    use flash_protocol::catalogue::NanoDollars;

    use super::*;

    fn hop(worker_type: &str, cost: u64) -> Hop {
        Hop { worker_type: worker_type.into(), function: None, worker: "w".into(), cost: NanoDollars(cost) }
    }

    #[test]
    fn hops_of_a_worker_type_are_one_and_the_route_is_first() {
        let hops = vec![hop("pre", 30), hop("gpu", 900), hop("pre", 1), hop("web", 2)];
        let ended = RequestCost { total: NanoDollars(940), hops, other: NanoDollars(7) };
        let own = Charge { worker_type: "web".into(), amount: NanoDollars(120) };
        let (total, text) = in_short(Some(&own), &ended);
        assert_eq!((total, text.as_str()), (1060, "web=122, pre=31, gpu=900, other=7"));
        assert_eq!(in_short(None, &ended).1, "pre=31, gpu=900, web=2, other=7");
    }

    #[test]
    fn the_header_is_bounded_and_still_adds_up() {
        let hops: Vec<Hop> =
            (0..100).map(|at| hop(&format!("{}{at}", "x".repeat(60)), u64::MAX / 200)).collect();
        let total = NanoDollars(100 * (u64::MAX / 200));
        let (sum, text) = in_short(None, &RequestCost { total, hops, other: NanoDollars(0) });
        assert!(text.len() <= MAX_HOPS_BYTES, "{}", text.len());
        let parts = text.split(", ").map(|part| part.split_once('=').unwrap().1.parse::<u64>().unwrap());
        assert_eq!(parts.sum::<u64>(), sum);
    }
}
