//! Estimates what an app costs: from its worker types, prices, requests per day and seconds per stage.
//!
//! Pure: the command collects the numbers, [`table`] prints them.
mod amount;
mod history;
mod stage;
pub(crate) mod table;

use std::time::Duration;

use flash_protocol::catalogue::NanoDollars;
use serde::Serialize;

pub(crate) use history::{Measured, measured};
pub(crate) use stage::{EstimateError, Given, Stage, always_on, left_out, stages};

/// Days per month in an estimate.
const DAYS: u64 = 30;

/// An estimate for a day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Estimate {
    pub requests_per_day: u64,
    pub stages: Vec<StageCost>,
    /// All stages, each on its own kind of worker.
    pub mixed: NanoDollars,
    /// `None` for an app without GPU workers.
    pub gpu_only: Option<GpuOnly>,
    /// Workers that are kept running; not in the sums above.
    pub always_on: Vec<AlwaysOn>,
}

/// One stage and its cost per day.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct StageCost {
    #[serde(flatten)]
    pub stage: Stage,
    pub per_day: NanoDollars,
}

/// The same work on only the most expensive GPU worker.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct GpuOnly {
    pub seconds: f64,
    pub price_per_second: NanoDollars,
    pub per_day: NanoDollars,
}

/// Workers that run even without load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct AlwaysOn {
    pub worker: String,
    pub workers: u32,
    pub per_day: NanoDollars,
}

/// Adds it up.
pub(crate) fn estimate(stages: Vec<Stage>, requests_per_day: u64, always_on: Vec<AlwaysOn>) -> Estimate {
    let dearest = stages.iter().filter(|stage| stage.gpu).map(|stage| stage.price_per_second).max();
    let total: Duration = stages.iter().map(|stage| stage.time()).sum();
    let gpu_only = dearest.map(|price| GpuOnly {
        seconds: total.as_secs_f64(),
        price_per_second: price,
        per_day: per_day(price, total, requests_per_day),
    });
    let stages: Vec<StageCost> = stages
        .into_iter()
        .map(|stage| StageCost {
            per_day: per_day(stage.price_per_second, stage.time(), requests_per_day),
            stage,
        })
        .collect();
    let mixed = stages.iter().fold(0_u64, |sum, stage| sum.saturating_add(stage.per_day.0));
    Estimate { requests_per_day, stages, mixed: NanoDollars(mixed), gpu_only, always_on }
}

/// Rounded once, at the end: a request may cost less than a nanodollar.
fn per_day(price: NanoDollars, time: Duration, requests: u64) -> NanoDollars {
    const NANOS: u128 = 1_000_000_000;
    let exact = u128::from(price.0).saturating_mul(time.as_nanos()).saturating_mul(u128::from(requests));
    NanoDollars(u64::try_from(exact.saturating_add(NANOS / 2) / NANOS).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
