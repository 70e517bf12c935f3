//! What was spent, for the page of costs.
use std::time::Duration;

/// What was spent since the platform started.
#[derive(Debug, Clone, Default)]
pub struct Costs {
    /// By worker type.
    pub types: Vec<TypeCost>,
    /// By function.
    pub functions: Vec<FunctionCost>,
    /// By day, the latest first; empty where that is not kept.
    pub days: Vec<DayCost>,
    /// The price of all workers that run now, per hour.
    pub per_hour: u64,
    /// When the platform started.
    pub since_ms: u64,
    /// The command that shows earlier costs, where they are kept.
    pub command: Option<String>,
}

/// Of a day, in billionths of a dollar.
#[derive(Debug, Clone)]
pub struct DayCost {
    /// Its start in UTC.
    pub day_ms: u64,
    /// The bills of worker types, by name.
    pub types: Vec<(String, u64)>,
}

/// Of a worker type, in billionths of a dollar.
#[derive(Debug, Clone, Default)]
pub struct TypeCost {
    /// The worker type.
    pub name: String,
    /// What there is to pay.
    pub bill: u64,
    /// The part of starts.
    pub start: u64,
    /// The part with work.
    pub run: u64,
    /// The rest.
    pub idle: u64,
    /// Of one worker, per hour; `None` if it is not known.
    pub per_hour: Option<u64>,
    /// Workers that were started.
    pub workers: u64,
}

/// Of a function.
#[derive(Debug, Clone)]
pub struct FunctionCost {
    /// The worker type.
    pub worker_type: String,
    /// The function.
    pub function: String,
    /// Calls that ended.
    pub calls: u64,
    /// How long they ran, all together.
    pub ran: Duration,
    /// In billionths of a dollar.
    pub cost: u64,
}
