//! What was spent, one row per minute.
use std::{collections::BTreeMap, time::Duration};

use flash_protocol::catalogue::NanoDollars;
use flash_target::{CallsFrom, CostQuery, Costs, FunctionCost, Grain, Split, WorkerCost};
use rusqlite::{TransactionBehavior, params};

use super::{environment_key::EnvironmentKey, error::Result, file::Database};

const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 24 * 60 * MINUTE_MS;

/// The increase since the last look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    pub workers: Vec<WorkerSpent>,
    pub functions: Vec<FunctionSpent>,
}

/// By workers of a type.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WorkerSpent {
    pub worker: String,
    pub bill: u64,
    pub start: u64,
    pub run: u64,
    pub start_time: Duration,
    pub run_time: Duration,
    pub idle_time: Duration,
    pub started: u64,
}

/// By calls of a function.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FunctionSpent {
    pub worker: String,
    pub function: String,
    pub calls: u64,
    pub cost: u64,
    pub ran: Duration,
}

impl Spent {
    pub(crate) fn is_nothing(&self) -> bool {
        self.workers.is_empty() && self.functions.is_empty()
    }
}

/// Large enough for 290 thousand years.
fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

impl Database {
    /// Adds to the sums of the minute of `now_ms`.
    pub(crate) fn add_costs(&self, environment: EnvironmentKey, now_ms: u64, spent: &Spent) -> Result<()> {
        let minute = now_ms / MINUTE_MS;
        let mut connection = self.connection();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for worker in &spent.workers {
            transaction
                .prepare_cached(
                    "INSERT INTO worker_cost VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
                     bill = bill + excluded.bill, start = start + excluded.start, run = run + excluded.run,
                     start_us = start_us + excluded.start_us, run_us = run_us + excluded.run_us,
                     idle_us = idle_us + excluded.idle_us, started = started + excluded.started",
                )?
                .execute(params![
                    environment.0,
                    minute,
                    worker.worker,
                    worker.bill,
                    worker.start,
                    worker.run,
                    micros(worker.start_time),
                    micros(worker.run_time),
                    micros(worker.idle_time),
                    worker.started,
                ])?;
        }
        for function in &spent.functions {
            transaction
                .prepare_cached(
                    "INSERT INTO function_cost VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
                     calls = calls + excluded.calls, cost = cost + excluded.cost,
                     ran_us = ran_us + excluded.ran_us",
                )?
                .execute(params![
                    environment.0,
                    minute,
                    function.worker,
                    function.function,
                    function.calls,
                    function.cost,
                    micros(function.ran),
                ])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// The sums of a period, to the minute.
    pub(crate) fn costs(&self, environment: EnvironmentKey, query: &CostQuery) -> Result<Costs> {
        // A minute counts if it begins within the period; the minute in which the period begins counts too.
        let (first, end) = (query.since_ms / MINUTE_MS, query.until_ms.div_ceil(MINUTE_MS));
        let end = i64::try_from(end).unwrap_or(i64::MAX);
        let minutes_of_grain = match query.grain {
            Grain::Whole => None,
            Grain::Day => Some(DAY_MS / MINUTE_MS),
        };
        // Without days, all minutes belong to day 0, which is not returned.
        let day = minutes_of_grain.map_or("0".to_owned(), |minutes| format!("minute / {minutes}"));
        let day_ms = |day: u64| minutes_of_grain.map(|_| day * DAY_MS);
        let connection = self.connection();
        let sql = format!(
            "SELECT {day} AS day, worker, sum(bill), sum(start), sum(run), sum(start_us), sum(run_us),
                    sum(idle_us), sum(started)
             FROM worker_cost WHERE environment = ? AND minute >= ? AND minute < ?
             GROUP BY day, worker ORDER BY day, worker"
        );
        let workers = connection
            .prepare_cached(&sql)?
            .query_map(params![environment.0, first, end], |row| {
                let (bill, start, run): (u64, u64, u64) = (row.get(2)?, row.get(3)?, row.get(4)?);
                Ok(WorkerCost {
                    day_ms: day_ms(row.get(0)?),
                    worker: row.get(1)?,
                    bill: NanoDollars(bill),
                    split: Some(Split {
                        start: NanoDollars(start),
                        run: NanoDollars(run),
                        idle: NanoDollars(bill.saturating_sub(start.saturating_add(run))),
                        start_seconds: seconds(row.get(5)?),
                        run_seconds: seconds(row.get(6)?),
                        idle_seconds: seconds(row.get(7)?),
                        started: row.get(8)?,
                    }),
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        let sql = format!(
            "SELECT {day} AS day, worker, function, sum(calls), sum(cost), sum(ran_us)
             FROM function_cost WHERE environment = ? AND minute >= ? AND minute < ?
             GROUP BY day, worker, function ORDER BY day, worker, function"
        );
        let functions = connection
            .prepare_cached(&sql)?
            .query_map(params![environment.0, first, end], |row| {
                Ok(FunctionCost {
                    day_ms: day_ms(row.get(0)?),
                    worker: row.get(1)?,
                    function: row.get(2)?,
                    calls: row.get(3)?,
                    cost: NanoDollars(row.get(4)?),
                    seconds: seconds(row.get(5)?),
                })
            })?
            .collect::<rusqlite::Result<_>>()?;
        Ok(Costs { workers, functions, calls: CallsFrom::Meter })
    }

    /// The cost of the worker types since the environment was made.
    pub(crate) fn bills(&self, environment: EnvironmentKey) -> Result<BTreeMap<String, NanoDollars>> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(
            "SELECT worker, sum(bill) FROM worker_cost WHERE environment = ? GROUP BY worker",
        )?;
        let rows = self.damages.readable(
            Some(environment),
            "worker_cost",
            statement.query([environment.0])?,
            |row| Ok((row.get(0)?, NanoDollars(row.get(1)?))),
        )?;
        Ok(rows.into_iter().collect())
    }
}
