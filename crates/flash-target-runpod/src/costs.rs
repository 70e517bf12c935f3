//! The cost of the endpoints, from the provider's bills, and an estimate of the calls' cost, from logs.
use std::{collections::BTreeMap, time::Duration};

use flash_protocol::{
    catalogue::{NanoDollars, PriceList},
    wire::job_end,
};
use flash_target::{
    CallsFrom, CostQuery, Costs, EnvironmentId, FunctionCost, Grain, LogQuery, LogRecord, Problem, Selected,
    Tail, TargetError, WorkerCost, now_ms,
};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;

use super::{
    ledger, logs,
    names::of_environment,
    releases,
    rest::{BillingQuery, BillingRecord, Endpoint, Rest},
};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// How far back to query endpoints whose cost is not known yet.
const WHOLE_BILL: Duration = Duration::from_secs(30 * 24 * 3600);

fn written(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn amount(record: &BillingRecord) -> NanoDollars {
    NanoDollars::from_dollars(record.total_amount).unwrap_or_default()
}

async fn records(rest: &Rest, since_ms: u64, until_ms: u64) -> Result<Vec<BillingRecord>, TargetError> {
    let query = BillingQuery {
        start: written(since_ms),
        end: written(until_ms),
        // The finest bucket: longer ones begin before the requested time.
        bucket: "hour",
        endpoint: None,
    };
    Ok(rest.billing(&query).await?)
}

/// By day and worker type. Bills do not break down the time.
pub(super) async fn bills(rest: &Rest, id: &EnvironmentId, query: &CostQuery) -> Result<Costs, TargetError> {
    let ours = of_environment(id, &rest.endpoints().await?);
    let of_id: BTreeMap<&str, &str> =
        ours.by_worker.iter().map(|(worker, endpoint)| (endpoint.id.as_str(), worker.as_str())).collect();
    let mut sums: BTreeMap<(Option<u64>, &str), NanoDollars> = BTreeMap::new();
    for record in records(rest, query.since_ms, query.until_ms).await? {
        let Some(worker) = of_id.get(record.serverless_id.as_str()) else { continue };
        let day = match query.grain {
            Grain::Whole => None,
            Grain::Day => Some(day_of(&record)?),
        };
        sums.entry((day, worker)).or_default().0 += amount(&record).0;
    }
    let functions = called(rest, id, query).await?;
    // Nothing is billed yet for the most recent time.
    for call in &functions {
        if let Some(worker) = ours.by_worker.get_key_value(&call.worker) {
            sums.entry((call.day_ms, worker.0)).or_default();
        }
    }
    let workers = sums.into_iter().map(|((day_ms, worker), bill)| WorkerCost {
        day_ms,
        worker: worker.to_owned(),
        bill,
        split: None,
    });
    Ok(Costs { workers: workers.collect(), functions, calls: CallsFrom::Logs })
}

/// The cost of queue functions' calls at our prices, from the line that a worker logs at the end of each.
async fn called(
    rest: &Rest,
    id: &EnvironmentId,
    query: &CostQuery,
) -> Result<Vec<FunctionCost>, TargetError> {
    let entries = releases::entries(rest, id).await?;
    let Some(spec) = ledger::live(&entries).map(|kept| &kept.entry.spec) else { return Ok(Vec::new()) };
    let prices = spec.prices.iter().map(|(name, price)| (name.as_str(), *price));
    let prices =
        PriceList::with_overrides(prices).map_err(|error| TargetError::of(Problem::Failed, error))?;
    let select = Selected {
        since_us: Some(query.since_ms.saturating_mul(1000)),
        until_us: Some(query.until_ms.saturating_mul(1000)),
        search: Some(job_end::PATTERN.to_owned()),
        ..Selected::default()
    };
    let lines = LogQuery { select, tail: Tail::All, follow: false };
    let lines: Vec<LogRecord> = logs::lines_of(rest, id, &lines).await?.try_collect().await?;
    let mut sums: BTreeMap<(Option<u64>, String, String), (u64, f64)> = BTreeMap::new();
    for line in lines {
        let Some((function, seconds)) = job_end::read(&line.text) else { continue };
        let day = (query.grain == Grain::Day).then(|| line.time_us / 1000 / DAY_MS * DAY_MS);
        let sum = sums.entry((day, line.worker_type, function.to_owned())).or_default();
        *sum = (sum.0 + 1, sum.1 + seconds);
    }
    let cost = |(key, (calls, seconds)): ((Option<u64>, String, String), (u64, f64))| {
        let (day_ms, worker, function) = key;
        let price = spec.manifest.worker(&worker)?.compute.price_per_second(&prices)?;
        // Rounded: an estimate, from times with two decimals of a millisecond.
        let cost = NanoDollars((price.0 as f64 * seconds).round() as u64);
        Some(FunctionCost { day_ms, worker, function, calls, cost, seconds })
    };
    Ok(sums.into_iter().filter_map(cost).collect())
}

/// By worker type, over the last thirty days.
pub(super) async fn totals(
    rest: &Rest,
    endpoints: &BTreeMap<String, Endpoint>,
) -> Result<BTreeMap<String, NanoDollars>, TargetError> {
    let now = now_ms();
    let since = now.saturating_sub(u64::try_from(WHOLE_BILL.as_millis()).unwrap_or(u64::MAX));
    let records = records(rest, since, now).await?;
    let total = |endpoint: &Endpoint| {
        let own = records.iter().filter(|record| record.serverless_id == endpoint.id);
        NanoDollars(own.map(|record| amount(record).0).sum())
    };
    Ok(endpoints.iter().map(|(worker, endpoint)| (worker.clone(), total(endpoint))).collect())
}

/// Start of a record's day in milliseconds since 1970.
fn day_of(record: &BillingRecord) -> Result<u64, TargetError> {
    let start: Timestamp = record.start_time.parse().map_err(|_| {
        TargetError::new(
            Problem::Failed,
            format!("a bill contains `{}` instead of a time", record.start_time),
        )
    })?;
    let ms = u64::try_from(start.as_millisecond()).unwrap_or(0);
    Ok(ms / DAY_MS * DAY_MS)
}
