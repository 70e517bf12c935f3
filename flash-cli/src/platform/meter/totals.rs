//! What everything has cost since the platform started, by worker type and by function.
use std::time::Duration;

use flash_sdk::catalogue::NanoDollars;

/// Sums since the platform started. They only grow (but for what is idle), so that differences of two looks
/// are what was spent in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CostTotals {
    /// By name.
    pub workers: Vec<TypeTotal>,
    /// By worker type and function. Part of what the workers cost: their running time.
    pub functions: Vec<FunctionTotal>,
}

/// What the workers of a type have cost.
///
/// What was idle is `bill - start - run`. It is no field: the bill grows by whole seconds, so between two looks
/// idle cost may shrink, and only sums over all time give it exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TypeTotal {
    pub worker_type: String,
    /// What is paid: each worker rounded up to seconds.
    pub bill: NanoDollars,
    pub start: NanoDollars,
    pub run: NanoDollars,
    pub start_time: Duration,
    pub run_time: Duration,
    pub idle_time: Duration,
    /// Workers that were started.
    pub started: u64,
}

/// What the calls of a function have cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunctionTotal {
    pub worker_type: String,
    /// As code calls it; a route as `METHOD /path`.
    pub function: String,
    /// Calls that ended.
    pub calls: u64,
    pub cost: NanoDollars,
    /// Time that they ran, all together.
    pub ran: Duration,
}
