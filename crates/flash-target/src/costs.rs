//! What was spent.
use flash_protocol::catalogue::NanoDollars;
use serde::{Deserialize, Serialize};

/// The period, and how finely to divide it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CostQuery {
    /// Milliseconds since 1970, inclusive.
    pub since_ms: u64,
    /// Milliseconds since 1970, exclusive.
    pub until_ms: u64,
    /// One sum for the period, or one for each day.
    pub grain: Grain,
}

/// Whether to sum by day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grain {
    /// One sum.
    Whole,
    /// A sum for each day, in UTC.
    Day,
}

/// The sums of a period.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Costs {
    /// By day and worker type.
    pub workers: Vec<WorkerCost>,
    /// By day, worker type and function. Part of what the workers cost: their running time.
    pub functions: Vec<FunctionCost>,
    /// How `functions` is known.
    #[serde(default)]
    pub calls: CallsFrom,
}

/// How the cost of calls is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallsFrom {
    /// Each call was counted when it ended.
    #[default]
    Meter,
    /// An estimate at our prices, from the calls still found in workers' logs.
    Logs,
}

/// The cost of a worker type's workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerCost {
    /// Start of the day in milliseconds since 1970; `None` without days.
    pub day_ms: Option<u64>,
    /// The worker type's name.
    pub worker: String,
    /// The bill: start, run and idle, each worker rounded up to seconds.
    pub bill: NanoDollars,
    /// The breakdown of the bill; `None` if the provider gives none.
    #[serde(flatten)]
    pub split: Option<Split>,
}

/// What workers spent their time on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The cost of the time from start until ready.
    pub start: NanoDollars,
    /// The cost of the time with at least one job or request.
    pub run: NanoDollars,
    /// The rest of the bill.
    pub idle: NanoDollars,
    /// The time from start until ready, of all workers.
    pub start_seconds: f64,
    /// The time with at least one job or request, of all workers.
    pub run_seconds: f64,
    /// The remaining time, of all workers.
    pub idle_seconds: f64,
    /// The number of workers started.
    pub started: u64,
}

/// The cost of a function's calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionCost {
    /// As in [`WorkerCost`].
    pub day_ms: Option<u64>,
    /// The name of the function's worker type.
    pub worker: String,
    /// As in code; a route as `METHOD /path`.
    pub function: String,
    /// The number of calls that ended.
    pub calls: u64,
    /// Their share of the cost of the workers that ran them.
    pub cost: NanoDollars,
    /// The time they ran in total.
    pub seconds: f64,
}
