//! What was spent.
use flash_sdk::catalogue::NanoDollars;
use serde::{Deserialize, Serialize};

/// Which time, and how finely.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CostQuery {
    /// Milliseconds since 1970, included.
    pub since_ms: u64,
    /// Milliseconds since 1970, not included.
    pub until_ms: u64,
    pub grain: Grain,
}

/// Whether days are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grain {
    /// One sum.
    Whole,
    /// A sum for each day, by UTC.
    Day,
}

/// Sums of a time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Costs {
    /// By day and worker type.
    pub workers: Vec<WorkerCost>,
    /// By day, worker type and function. Part of what the workers cost: their running time.
    pub functions: Vec<FunctionCost>,
    #[serde(default)]
    pub calls: CallsFrom,
}

/// How what calls cost is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CallsFrom {
    /// Each was counted when it ended.
    #[default]
    Meter,
    /// An estimate: those of which the logs of workers still tell, with our prices.
    Logs,
}

/// What the workers of a type cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerCost {
    /// Milliseconds since 1970 where the day begins; `None` without days.
    pub day_ms: Option<u64>,
    pub worker: String,
    /// What is paid: start, run and idle, each worker rounded up to seconds.
    pub bill: NanoDollars,
    /// What it was paid for; `None` where bills do not say.
    #[serde(flatten)]
    pub split: Option<Split>,
}

/// What workers used their time for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Split {
    pub start: NanoDollars,
    pub run: NanoDollars,
    pub idle: NanoDollars,
    pub start_seconds: f64,
    pub run_seconds: f64,
    pub idle_seconds: f64,
    /// Workers that were started.
    pub started: u64,
}

/// What the calls of a function cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FunctionCost {
    /// As in [`WorkerCost`].
    pub day_ms: Option<u64>,
    pub worker: String,
    /// As code calls it; a route as `METHOD /path`.
    pub function: String,
    /// Calls that ended.
    pub calls: u64,
    pub cost: NanoDollars,
    /// Time that they ran, all together.
    pub seconds: f64,
}
