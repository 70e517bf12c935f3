//! The total cost since the platform started, by worker type and function.
use std::time::Duration;

use flash_protocol::catalogue::NanoDollars;

use super::ledger::Sums;
use crate::tally::{Calls, Tally};

/// The label for calls without a function of the app: jobs and requests of other programs.
pub(crate) const OTHERS: &str = "*";

/// Sums since the platform started. Except for idle cost they only grow, so the difference of two reads is what was
/// spent in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostTotals {
    /// By name.
    pub workers: Vec<TypeTotal>,
    /// By worker type and function. This is part of the workers' cost: their running time.
    pub functions: Vec<FunctionTotal>,
}

/// The cost of the workers of a type.
///
/// The idle cost is `bill - start - run`. It is not a field: the bill grows by whole seconds, so idle cost may shrink
/// between two reads, and is only exact over all time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeTotal {
    /// Its name.
    pub worker_type: String,
    /// The amount to pay: each worker rounded up to seconds.
    pub bill: NanoDollars,
    /// The cost of the time from start until ready.
    pub start: NanoDollars,
    /// The cost of the time with at least one job or request.
    pub run: NanoDollars,
    /// The time from start until ready, of all workers.
    pub start_time: Duration,
    /// The time with at least one job or request, of all workers.
    pub run_time: Duration,
    /// The remaining time, of all workers.
    pub idle_time: Duration,
    /// Workers that were started.
    pub started: u64,
}

/// The cost of a function's calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionTotal {
    /// The name of the function's worker type.
    pub worker_type: String,
    /// As code calls it; a route as `METHOD /path`.
    pub function: String,
    /// Calls that ended.
    pub calls: u64,
    /// Their share of the cost of the workers that ran them.
    pub cost: NanoDollars,
    /// Time that they ran, all together.
    pub ran: Duration,
}

impl CostTotals {
    /// Adds a worker type.
    pub(super) fn add(&mut self, worker_type: &str, sums: &Sums, tally: &Tally) {
        let amount = |sum: u128| NanoDollars(u64::try_from(sum).unwrap_or(u64::MAX));
        let time = |nanos: u128| Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.workers.push(TypeTotal {
            worker_type: worker_type.to_owned(),
            bill: amount(sums.bill),
            start: amount(sums.start),
            run: amount(sums.run),
            start_time: time(sums.start_time),
            run_time: time(sums.run_time),
            idle_time: time(sums.idle_time()),
            started: sums.workers,
        });
        let function = |(function, calls): (String, Calls)| FunctionTotal {
            worker_type: worker_type.to_owned(),
            function,
            calls: calls.count,
            cost: calls.cost,
            ran: calls.ran,
        };
        self.functions.extend(tally.calls(OTHERS).into_iter().map(function));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{
        super::{Billing, ChargedTo},
        *,
    };
    use crate::tally::Ending;

    #[test]
    fn what_functions_cost_is_the_running_cost_of_their_workers() {
        let billing = Billing::default();
        let meter = billing.meter("gpu", Some(NanoDollars(1_000_000_000)));
        meter.tally().name([("f".to_owned(), "f".to_owned())].into_iter());
        let account = meter.open(&"w".into());
        account.spawned(Instant::now());
        account.ready();
        for function in [Some("f"), None, Some("f")] {
            account.begin().end(Some(&ChargedTo { request_id: "r".into(), function }));
            let millisecond = Duration::from_millis(1);
            meter.tally().ended(function, Ending::Completed, millisecond, millisecond);
        }
        account.gone();
        let CostTotals { workers, functions } = billing.totals();
        let named: Vec<_> = functions.iter().map(|total| (total.function.as_str(), total.calls)).collect();
        assert_eq!(named, [("*", 1), ("f", 2)]);
        let cost: u64 = functions.iter().map(|total| total.cost.0).sum();
        assert!(cost > 0 && cost == workers[0].run.0);
        assert!(workers[0].bill.0 >= workers[0].start.0 + workers[0].run.0 && workers[0].started == 1);
    }
}
