//! Which worker types are stages of a request, in which order, at which price.
use std::time::Duration;

use flash_protocol::{
    catalogue::{NanoDollars, PriceList},
    manifest::{ComputeEntry, EndpointKind, Manifest, WorkerType},
};
use flash_text::nearest;
use serde::Serialize;

use super::AlwaysOn;

/// Seconds of a day.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// More seconds than this in one request are probably the wrong unit.
const MOST_SECONDS: f64 = 7.0 * 24.0 * 3600.0;

/// One worker type's part of each request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Stage {
    pub worker: String,
    /// `preprocess` for `preprocess_worker`.
    pub label: String,
    pub gpu: bool,
    /// For each request.
    pub seconds: f64,
    pub price_per_second: NanoDollars,
}

impl Stage {
    pub(super) fn time(&self) -> Duration {
        // Checked when the number was parsed.
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

/// Seconds for a worker type, or for a function, in which case they are added to its worker type.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Given {
    pub name: String,
    pub seconds: f64,
}

impl std::str::FromStr for Given {
    type Err = String;

    /// `NAME=SECONDS`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: expected NAME=SECONDS, such as inference_worker=0.2");
        let (name, seconds) = text.rsplit_once('=').ok_or_else(wrong)?;
        let seconds: f64 = seconds.trim_end_matches('s').parse().map_err(|_| wrong())?;
        if name.is_empty() || !(0.0..=MOST_SECONDS).contains(&seconds) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), seconds })
    }
}

/// Why there is no estimate.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EstimateError {
    #[error("the app has no worker type or function `{name}`{near}")]
    Unknown { name: String, near: String },
    #[error("the seconds of `{0}` are given twice")]
    Twice(String),
    #[error("no published price for `{worker}` ({compute})")]
    NoPrice { worker: String, compute: String },
}

/// The stages that seconds are given for, in pipeline order as far as names and functions show it: `pre…` first,
/// `post…` last, else in the order of the functions in the source.
///
/// # Errors
/// For a name that the app does not have, and for hardware without a price.
pub(crate) fn stages(
    manifest: &Manifest,
    prices: &PriceList,
    given: &[Given],
) -> Result<Vec<Stage>, EstimateError> {
    let mut seconds: Vec<(&WorkerType, f64)> = Vec::new();
    for (index, own) in given.iter().enumerate() {
        if given[..index].iter().any(|before| before.name == own.name) {
            return Err(EstimateError::Twice(own.name.clone()));
        }
        let worker = worker_of(manifest, &own.name)?;
        match seconds.iter_mut().find(|(known, _)| known.name == worker.name) {
            Some((_, sum)) => *sum += own.seconds,
            None => seconds.push((worker, own.seconds)),
        }
    }
    seconds.sort_by_key(|(worker, _)| order(manifest, worker));
    seconds
        .into_iter()
        .map(|(worker, seconds)| {
            Ok(Stage {
                worker: worker.name.clone(),
                label: label(&worker.name).to_owned(),
                gpu: matches!(worker.compute, ComputeEntry::Gpu { .. }),
                seconds,
                price_per_second: price_of(worker, prices)?,
            })
        })
        .collect()
}

fn worker_of<'a>(manifest: &'a Manifest, name: &str) -> Result<&'a WorkerType, EstimateError> {
    let function = || {
        let named = |function: &&_| {
            let function: &flash_protocol::manifest::FunctionEntry = function;
            function.call_name() == name
        };
        manifest.worker(&manifest.functions.iter().find(named)?.worker)
    };
    manifest.worker(name).or_else(function).ok_or_else(|| {
        let calls: Vec<String> = manifest.functions.iter().map(|function| function.call_name()).collect();
        let known = manifest.workers.iter().map(|worker| worker.name.as_str());
        let near = nearest(name, known.chain(calls.iter().map(String::as_str)));
        EstimateError::Unknown { name: name.to_owned(), near }
    })
}

/// The manifest does not say who calls whom, so the names decide.
fn order(manifest: &Manifest, worker: &WorkerType) -> (u8, usize) {
    let rank = match worker.name.as_str() {
        name if name.starts_with("pre") => 0,
        name if name.starts_with("post") => 2,
        _ => 1,
    };
    let place = manifest.functions.iter().position(|function| function.worker == worker.name);
    (rank, place.unwrap_or(usize::MAX))
}

fn label(worker: &str) -> &str {
    let short = worker.strip_suffix("_worker").or_else(|| worker.strip_suffix("-worker")).unwrap_or(worker);
    if short.is_empty() { worker } else { short }
}

fn price_of(worker: &WorkerType, prices: &PriceList) -> Result<NanoDollars, EstimateError> {
    worker.compute.price_per_second(prices).ok_or_else(|| EstimateError::NoPrice {
        worker: worker.name.clone(),
        compute: worker.compute.label(),
    })
}

/// The cost of workers that are never stopped, whatever the load.
///
/// # Errors
/// For hardware without a price.
pub(crate) fn always_on(manifest: &Manifest, prices: &PriceList) -> Result<Vec<AlwaysOn>, EstimateError> {
    let kept = manifest.workers.iter().filter(|worker| worker.workers_min > 0);
    kept.map(|worker| {
        let one = price_of(worker, prices)?.for_duration(DAY);
        let per_day = NanoDollars(one.0.saturating_mul(worker.workers_min.into()));
        Ok(AlwaysOn { worker: worker.name.clone(), workers: worker.workers_min, per_day })
    })
    .collect()
}

/// Worker types that take jobs but have no seconds.
pub(crate) fn left_out<'a>(manifest: &'a Manifest, stages: &[Stage]) -> Vec<&'a str> {
    let queues = manifest.workers.iter().filter(|worker| worker.kind == EndpointKind::Queue);
    queues
        .map(|worker| worker.name.as_str())
        .filter(|name| stages.iter().all(|stage| stage.worker != *name))
        .collect()
}
