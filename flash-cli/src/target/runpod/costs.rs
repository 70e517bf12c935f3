//! What the endpoints cost, from the provider's bills.
use std::collections::BTreeMap;

use flash_sdk::catalogue::NanoDollars;
use jiff::Timestamp;

use super::{
    RunpodTarget,
    names::of_environment,
    now_ms,
    rest::{BillingQuery, BillingRecord, Endpoint},
    view::WHOLE_BILL,
};
use crate::target::{CostQuery, Costs, EnvironmentId, Grain, Problem, TargetError, WorkerCost};

const DAY_MS: u64 = 24 * 3600 * 1000;

fn written(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn amount(record: &BillingRecord) -> NanoDollars {
    NanoDollars::from_dollars(record.total_amount).unwrap_or_default()
}

impl RunpodTarget {
    async fn records(&self, since_ms: u64, until_ms: u64) -> Result<Vec<BillingRecord>, TargetError> {
        let query = BillingQuery {
            start: written(since_ms),
            end: written(until_ms),
            // The finest: longer ones begin before the time that is asked for.
            bucket: "hour",
            endpoint: None,
        };
        Ok(self.rest.billing(&query).await?)
    }

    /// By day and worker type. How time was spent is not in a bill, and calls are not either.
    pub(super) async fn bills(&self, id: &EnvironmentId, query: &CostQuery) -> Result<Costs, TargetError> {
        let ours = of_environment(id, &self.rest.endpoints().await?);
        let of_id: BTreeMap<&str, &str> =
            ours.by_worker.iter().map(|(worker, endpoint)| (endpoint.id.as_str(), worker.as_str())).collect();
        let mut sums: BTreeMap<(Option<u64>, &str), NanoDollars> = BTreeMap::new();
        for record in self.records(query.since_ms, query.until_ms).await? {
            let Some(worker) = of_id.get(record.serverless_id.as_str()) else { continue };
            let day = match query.grain {
                Grain::Whole => None,
                Grain::Day => Some(day_of(&record)?),
            };
            sums.entry((day, worker)).or_default().0 += amount(&record).0;
        }
        let workers = sums.into_iter().map(|((day_ms, worker), bill)| WorkerCost {
            day_ms,
            worker: worker.to_owned(),
            bill,
            start: NanoDollars::default(),
            run: NanoDollars::default(),
            idle: NanoDollars::default(),
            start_seconds: 0.0,
            run_seconds: 0.0,
            idle_seconds: 0.0,
            started: 0,
        });
        Ok(Costs { workers: workers.collect(), functions: Vec::new() })
    }

    /// By worker type, over the last thirty days.
    pub(super) async fn totals(
        &self,
        endpoints: &BTreeMap<String, Endpoint>,
    ) -> Result<BTreeMap<String, NanoDollars>, TargetError> {
        let now = now_ms();
        let since = now.saturating_sub(u64::try_from(WHOLE_BILL.as_millis()).unwrap_or(u64::MAX));
        let records = self.records(since, now).await?;
        let total = |endpoint: &Endpoint| {
            let own = records.iter().filter(|record| record.serverless_id == endpoint.id);
            NanoDollars(own.map(|record| amount(record).0).sum())
        };
        Ok(endpoints.iter().map(|(worker, endpoint)| (worker.clone(), total(endpoint))).collect())
    }
}

/// Milliseconds since 1970 where the day of a record begins.
fn day_of(record: &BillingRecord) -> Result<u64, TargetError> {
    let start: Timestamp = record.start_time.parse().map_err(|_| {
        TargetError::new(Problem::Failed, format!("a bill says `{}` where a time belongs", record.start_time))
    })?;
    let ms = u64::try_from(start.as_millisecond()).unwrap_or(0);
    Ok(ms / DAY_MS * DAY_MS)
}
