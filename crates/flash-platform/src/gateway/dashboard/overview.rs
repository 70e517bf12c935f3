//! The overview: the state of everything.
use std::sync::Arc;

use axum::{extract::State, response::Response};
use flash_dashboard::view;
use http::{HeaderMap, StatusCode, header};

use super::{super::state::GatewayState, frame::frame, html};
use crate::{
    history::{Row, TypeRow, growth},
    hops::Quantiles,
    overview::{TypeOverview, type_overview},
    pool::{Counts, Pool},
    release::Release,
    sample::sample,
};

/// Problems that are shown.
const MOST_PROBLEMS: usize = 5;
/// Worker types with curves of their own; more could not be told apart.
const MOST_CURVES: usize = 6;
/// How far back rates look.
const LATELY: std::time::Duration = std::time::Duration::from_secs(60);

/// `GET /_flash/`
pub(super) async fn page(State(state): State<Arc<GatewayState>>, headers: HeaderMap) -> Response {
    let view = overview(&state, &headers);
    html(StatusCode::OK, flash_dashboard::overview(&frame(&state, &headers), &view))
}

fn overview(state: &GatewayState, headers: &HeaderMap) -> view::Overview {
    let Some(live) = state.releases.live() else {
        let down = Some(state.nothing_live().message().to_owned());
        return view::Overview { down, ..view::Overview::default() };
    };
    let rows = state.dashboard.history.rows();
    let now = Row::now(&state.releases);
    let totals = state.billing.totals();
    let types: Vec<(TypeOverview, Option<Quantiles>)> =
        live.pools().map(|pool| (type_overview(pool), pool.tally().hops.quantiles())).collect();
    let priced = |name: &str| live.pool(name).is_some_and(|pool| pool.price_per_second().is_some());
    let cost =
        |name: &str| totals.workers.iter().find(|own| own.worker_type == name).map_or(0, |own| own.bill.0);
    let workers = types.iter().map(|(own, latency)| {
        let per_second = per_second(&rows, &now, |row| Some(row.of(&own.name)?.ended));
        let cost = priced(&own.name).then(|| cost(&own.name));
        worker_type(own, *latency, per_second, cost)
    });
    let releases = state.releases.live_and_past();
    let is_draining = |release: &&Arc<Release>| release.number != live.number && !release.is_over();
    view::Overview {
        down: None,
        since_ms: Some(live.created.saturating_mul(1000)),
        draining: releases.iter().filter(is_draining).map(|release| release.number).collect(),
        workers: workers.collect(),
        cost: totals.workers.iter().map(|own| own.bill.0).fold(0, u64::saturating_add),
        cost_per_hour: now.types.iter().map(|own| own.per_hour).fold(0, u64::saturating_add),
        problems: problems(&types),
        curves: curves(&rows),
        example: example(state, &live, headers),
    }
}

fn worker_type(
    own: &TypeOverview,
    latency: Option<Quantiles>,
    per_second: f64,
    cost: Option<u64>,
) -> view::WorkerType {
    let waits = own.waits_for.clone();
    view::WorkerType {
        name: own.name.clone(),
        compute: own.compute.clone(),
        limits: (own.workers_min, own.workers_max),
        counts: counts(own.counts),
        loading: own.loading.clone().or(waits),
        waiting: own.waiting,
        running: own.running,
        per_second,
        latency: latency.map(|Quantiles { p50, p95, p99, calls }| view::Latency { p50, p95, p99, calls }),
        completed: own.completed,
        failed: own.failed,
        cost,
    }
}

fn counts(counts: Counts) -> view::Counts {
    let Counts { starting, idle, busy, stopping, unhealthy, throttled, loading_seconds: _ } = counts;
    view::Counts { busy, idle, starting, stopping, unhealthy, throttled }
}

/// How fast a count grew over the last minute, or since there are rows.
pub(super) fn per_second(rows: &[Arc<Row>], now: &Row, count: impl Fn(&Row) -> Option<u64>) -> f64 {
    let is_late = |row: &&Arc<Row>| now.at.saturating_duration_since(row.at) <= LATELY;
    let from = rows.iter().filter(is_late).find_map(|row| Some((count(row)?, row.at)));
    match (from, count(now)) {
        (Some(from), Some(to)) => growth(from, (to, now.at)),
        _ => 0.0,
    }
}

fn problems(types: &[(TypeOverview, Option<Quantiles>)]) -> Vec<view::Problem> {
    let of_type = |own: &TypeOverview| {
        let name = own.name.clone();
        own.last_errors.clone().into_iter().map(move |problem| {
            let time = problem.time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            view::Problem {
                time_ms: u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
                worker_type: name.clone(),
                message: problem.message,
                request_id: problem.request_id,
            }
        })
    };
    let mut all: Vec<view::Problem> = types.iter().flat_map(|(own, _)| of_type(own)).collect();
    all.sort_by_key(|problem| std::cmp::Reverse(problem.time_ms));
    all.truncate(MOST_PROBLEMS);
    all
}

fn curves(rows: &[Arc<Row>]) -> Vec<view::Chart> {
    let Some(last) = rows.last().filter(|_| rows.len() > 1) else { return Vec::new() };
    let mut busiest: Vec<&TypeRow> = last.types.iter().collect();
    busiest.sort_by_key(|own| std::cmp::Reverse(own.ended));
    busiest.truncate(MOST_CURVES);
    let mut names: Vec<&str> = busiest.into_iter().map(|own| own.name.as_str()).collect();
    names.sort_unstable();
    let rates = |title, value: &dyn Fn(&Row, &Row, &str) -> Option<f64>| curve(rows, &names, title, value);
    let counts = |title, value: &dyn Fn(&Row, &Row, &str) -> Option<f64>| view::Chart {
        values: view::Values::Counts,
        ..rates(title, value)
    };
    let rate = |before: &Row, row: &Row, count: fn(&TypeRow) -> u64, name: &str| {
        Some(growth((count(before.of(name)?), before.at), (count(row.of(name)?), row.at)))
    };
    vec![
        rates("Calls per second", &|before, row, name| rate(before, row, |own| own.ended, name)),
        counts("Waiting", &|_, row, name| Some(row.of(name)?.waiting as f64)),
        counts("Workers", &|_, row, name| {
            let Counts { starting, idle, busy, stopping, .. } = row.of(name)?.counts;
            Some(f64::from(starting + idle + busy + stopping))
        }),
        rates("Failed per second", &|before, row, name| rate(before, row, |own| own.failed, name)),
    ]
}

/// A curve of rates for each name, with a value for each row but the first.
pub(super) fn curve(
    rows: &[Arc<Row>],
    names: &[&str],
    title: &'static str,
    value: &dyn Fn(&Row, &Row, &str) -> Option<f64>,
) -> view::Chart {
    let pairs = || rows.iter().zip(rows.iter().skip(1));
    let round = |value: f64| (value * 1000.0).round() / 1000.0;
    let values = |name: &str| pairs().map(|(before, row)| value(before, row, name).map(round)).collect();
    view::Chart {
        title,
        values: view::Values::Rates,
        times_ms: pairs().map(|(_, row)| row.time_ms).collect(),
        curves: names
            .iter()
            .map(|name| view::Curve { name: (*name).to_owned(), values: values(name) })
            .collect(),
    }
}

/// A command that calls the first function with a queue.
pub(super) fn example(state: &GatewayState, live: &Release, headers: &HeaderMap) -> Option<String> {
    let has_queue = |worker: &str| live.pool(worker).is_some_and(|pool: &Arc<Pool>| pool.queue().is_some());
    let function =
        live.manifest.functions.iter().find(|own| own.route.is_none() && has_queue(&own.worker))?;
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let input = function.input.as_ref().and_then(|schema| sample(schema, &live.manifest.definitions));
    let input = input.map_or_else(|| "{}".to_owned(), |input| input.to_string()).replace('\'', "'\\''");
    let key = match state.access_control.hosts_without_key() {
        Some(_) => "",
        None => " -H 'authorization: Bearer KEY'",
    };
    let (module, name) = (&function.module, &function.name);
    Some(format!(
        "curl http://{host}/{module}/{name}/run_sync{key} -H 'content-type: application/json' -d '{input}'"
    ))
}
