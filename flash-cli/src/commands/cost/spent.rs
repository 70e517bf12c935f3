//! What an environment has cost: rows, and their exact sum.
use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use flash_protocol::catalogue::NanoDollars;
use flash_target::{CallsFrom, CostQuery, Costs, Grain};
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    commands::{
        scope::{Scope, ScopeArguments},
        time::{day, parse_past_ms},
    },
    exit::Failure,
    output::Output,
};

/// The row for the cost that belongs to no call.
const REST: &str = "starting and idle";

/// The default start of the period.
const USUAL_SINCE: &str = "24h";

/// The arguments of `flash cost` without a subcommand.
#[derive(Args)]
pub(super) struct SpentArguments {
    /// The environment [default: the only one].
    #[arg(value_name = "ENV")]
    environment: Option<String>,
    /// Start of the period: how long ago, such as 90m, 24h or 7d, or a time, such as 2026-11-23T12:00Z.
    #[arg(long, default_value = USUAL_SINCE)]
    since: String,
    /// What to group by.
    #[arg(long, value_enum, default_value_t = By::Worker)]
    by: By,
    #[command(flatten)]
    scope: ScopeArguments,
}

/// What to group by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// One row per worker type: starting, running, idling.
    Worker,
    /// One row per function: the time its calls ran; and one for the rest.
    Function,
    /// One row per day, in UTC.
    Day,
}

impl SpentArguments {
    /// Whether any of them is set.
    pub(super) fn are_given(&self) -> bool {
        let Self { environment, since, by, scope } = self;
        environment.is_some()
            || since != USUAL_SINCE
            || *by != By::Worker
            || scope.app.is_some()
            || scope.target.is_some()
            || scope.directory.as_os_str() != "."
    }
}

/// A row: one item and its cost.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Row {
    /// Worker type, function or day.
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calls: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    /// The cost of this row's calls by our price list, where that is an estimate and not part of the bill.
    #[serde(skip_serializing_if = "Option::is_none")]
    calls_nanodollars: Option<NanoDollars>,
    /// The breakdown of a bill.
    #[serde(skip_serializing_if = "Option::is_none")]
    parts: Option<Parts>,
    nanodollars: NanoDollars,
}

/// What a worker's time was spent on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Parts {
    start_nanodollars: NanoDollars,
    run_nanodollars: NanoDollars,
    idle_nanodollars: NanoDollars,
    start_seconds: f64,
    run_seconds: f64,
    idle_seconds: f64,
}

/// Everything that `--json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    app: &'a str,
    environment: &'a str,
    since_ms: u64,
    until_ms: u64,
    by: &'static str,
    /// `meter`: all calls, exactly; `logs`: an estimate from the calls found in worker logs.
    calls_from: CallsFrom,
    rows: &'a [Row],
    total_nanodollars: NanoDollars,
}

/// Prints it.
pub(super) async fn run(arguments: &SpentArguments, output: &Output) -> Result<(), Failure> {
    let now = Timestamp::now();
    let since_ms = parse_past_ms("--since", &arguments.since, now)?;
    let until_ms = u64::try_from(now.as_millisecond()).unwrap_or(since_ms);
    let Scope { id, target } = arguments.scope.environment(arguments.environment.as_deref()).await?;
    let grain = if arguments.by == By::Day { Grain::Day } else { Grain::Whole };
    let costs = target.costs(&id, &CostQuery { since_ms, until_ms, grain }).await?;
    let (rows, total) = rows(&costs, arguments.by);
    if output.is_json() {
        let by = match arguments.by {
            By::Worker => "worker",
            By::Function => "function",
            By::Day => "day",
        };
        output.object(&Printed {
            app: &id.app,
            environment: &id.name,
            since_ms,
            until_ms,
            by,
            calls_from: costs.calls,
            rows: &rows,
            total_nanodollars: total,
        });
        return Ok(());
    }
    if rows.is_empty() {
        output.status("Cost", &format!("{id} cost nothing in this time (--since {})", arguments.since));
    }
    let (head, cells) = match costs.calls {
        CallsFrom::Meter => cells(&rows, total, arguments.by),
        CallsFrom::Logs => estimated_cells(&rows, total, arguments.by),
    };
    output.table(&head, &cells);
    if costs.calls == CallsFrom::Logs {
        output.status(
            "Note",
            "`billed` is what the provider has billed so far; calls and their cost are estimated from \
             the logs of workers that still exist, at this app's prices",
        );
    }
    Ok(())
}

/// Rows and their sum. The sum is always that of the bill.
fn rows(costs: &Costs, by: By) -> (Vec<Row>, NanoDollars) {
    let total = NanoDollars(costs.workers.iter().fold(0, |sum, own| sum.saturating_add(own.bill.0)));
    let rows = match by {
        By::Worker => bills(costs, |own| own.worker.clone()),
        By::Day => bills(costs, |own| own.day_ms.map_or_else(String::new, day)),
        By::Function => by_function(costs, total),
    };
    (rows, total)
}

/// Bills grouped by name, sorted, with the calls that belong to them.
fn bills(costs: &Costs, name: impl Fn(&flash_target::WorkerCost) -> String) -> Vec<Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for own in &costs.workers {
        let key = name(own);
        let row = rows.entry(key.clone()).or_insert_with(|| Row { name: key, ..Row::default() });
        if let Some(split) = own.split {
            let parts = row.parts.get_or_insert_default();
            parts.start_nanodollars.0 += split.start.0;
            parts.run_nanodollars.0 += split.run.0;
            parts.idle_nanodollars.0 += split.idle.0;
            parts.start_seconds += split.start_seconds;
            parts.run_seconds += split.run_seconds;
            parts.idle_seconds += split.idle_seconds;
        }
        row.nanodollars.0 += own.bill.0;
        let of_it =
            |call: &&flash_target::FunctionCost| call.worker == own.worker && call.day_ms == own.day_ms;
        let calls: u64 = costs.functions.iter().filter(of_it).map(|call| call.calls).sum();
        *row.calls.get_or_insert_default() += calls;
        if costs.calls == CallsFrom::Logs {
            let of_calls: u64 = costs.functions.iter().filter(of_it).map(|call| call.cost.0).sum();
            row.calls_nanodollars.get_or_insert_default().0 += of_calls;
        }
    }
    rows.into_values().collect()
}

fn by_function(costs: &Costs, total: NanoDollars) -> Vec<Row> {
    let mut rows: Vec<Row> = costs
        .functions
        .iter()
        .map(|own| Row {
            name: own.function.clone(),
            worker: Some(own.worker.clone()),
            calls: Some(own.calls),
            seconds: Some(own.seconds),
            calls_nanodollars: None,
            parts: None,
            nanodollars: own.cost,
        })
        .collect();
    if costs.calls == CallsFrom::Logs {
        // Calls and bill come from different sources and do not add up.
        return rows;
    }
    let called = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.nanodollars.0));
    let rest = NanoDollars(total.0.saturating_sub(called));
    if !costs.workers.is_empty() {
        rows.push(Row { name: REST.to_owned(), nanodollars: rest, ..Row::default() });
    }
    rows
}

/// The table's header and cells.
fn cells(rows: &[Row], total: NanoDollars, by: By) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
    if by == By::Function {
        let head = vec!["function", "worker", "calls", "seconds", "cost"];
        let mut cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let time = row.seconds.map_or_else(String::new, seconds);
                let worker = row.worker.clone().unwrap_or_default();
                vec![row.name.clone(), worker, count(row.calls), time, row.nanodollars.to_string()]
            })
            .collect();
        cells.push(vec!["total".to_owned(), String::new(), String::new(), String::new(), total.to_string()]);
        align(&mut cells, &[2, 3, 4]);
        return (head, cells);
    }
    let name = if by == By::Day { "day" } else { "worker" };
    let head = vec![name, "calls", "start", "", "run", "", "idle", "", "total"];
    let line = |name: &str, calls: u64, parts: &Parts, bill: NanoDollars| {
        vec![
            name.to_owned(),
            calls.to_string(),
            parts.start_nanodollars.to_string(),
            seconds(parts.start_seconds),
            parts.run_nanodollars.to_string(),
            seconds(parts.run_seconds),
            parts.idle_nanodollars.to_string(),
            seconds(parts.idle_seconds),
            bill.to_string(),
        ]
    };
    let mut all = Parts::default();
    let mut calls = 0;
    let mut cells: Vec<Vec<String>> = Vec::new();
    for row in rows {
        let parts = row.parts.unwrap_or_default();
        all.start_nanodollars.0 += parts.start_nanodollars.0;
        all.run_nanodollars.0 += parts.run_nanodollars.0;
        all.idle_nanodollars.0 += parts.idle_nanodollars.0;
        all.start_seconds += parts.start_seconds;
        all.run_seconds += parts.run_seconds;
        all.idle_seconds += parts.idle_seconds;
        calls += row.calls.unwrap_or_default();
        cells.push(line(&row.name, row.calls.unwrap_or_default(), &parts, row.nanodollars));
    }
    cells.push(line("total", calls, &all, total));
    align(&mut cells, &[2, 3, 4, 5, 6, 7, 8]);
    (head, cells)
}

/// Like [`cells`], for calls that are estimated beside the bill.
fn estimated_cells(rows: &[Row], billed: NanoDollars, by: By) -> (Vec<&'static str>, Vec<Vec<String>>) {
    if by == By::Function {
        let called = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.nanodollars.0));
        let (mut head, mut cells) = cells(rows, NanoDollars(called), by);
        head[4] = "estimate";
        let mut last = vec![String::new(); head.len()];
        (last[0], last[4]) = ("billed".to_owned(), billed.to_string());
        cells.push(last);
        align(&mut cells, &[4]);
        return (head, cells);
    }
    let name = if by == By::Day { "day" } else { "worker" };
    let (mut calls, mut called) = (0, 0);
    let mut cells = Vec::new();
    for row in rows {
        let own = (row.calls.unwrap_or_default(), row.calls_nanodollars.unwrap_or_default());
        (calls, called) = (calls + own.0, called + own.1.0);
        let line = [row.name.clone(), own.0.to_string(), own.1.to_string(), row.nanodollars.to_string()];
        cells.push(line.to_vec());
    }
    let total = ["total".to_owned(), calls.to_string(), NanoDollars(called).to_string(), billed.to_string()];
    cells.push(total.to_vec());
    align(&mut cells, &[1, 2, 3]);
    (vec![name, "calls", "estimate", "billed"], cells)
}

/// Right-aligns the numbers in these columns.
fn align(cells: &mut [Vec<String>], columns: &[usize]) {
    for &column in columns {
        let width = cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        for row in &mut *cells {
            row[column] = format!("{:>width$}", row[column]);
        }
    }
}

#[cfg(test)]
mod tests {
    use flash_target::{FunctionCost, Split, WorkerCost};

    use super::*;

    fn worker(day_ms: Option<u64>, worker: &str, start: u64, run: u64, idle: u64) -> WorkerCost {
        WorkerCost {
            day_ms,
            worker: worker.to_owned(),
            bill: NanoDollars(start + run + idle),
            split: Some(Split {
                start: NanoDollars(start),
                run: NanoDollars(run),
                idle: NanoDollars(idle),
                start_seconds: 0.5,
                run_seconds: 1.25,
                idle_seconds: 3.0,
                started: 1,
            }),
        }
    }

    fn function(day_ms: Option<u64>, worker: &str, name: &str, calls: u64, cost: u64) -> FunctionCost {
        FunctionCost {
            day_ms,
            worker: worker.to_owned(),
            function: name.to_owned(),
            calls,
            cost: NanoDollars(cost),
            seconds: 1.25,
        }
    }

    #[test]
    fn rows_add_up_to_the_bill_to_the_nano_dollar() {
        let costs = Costs {
            workers: vec![worker(None, "gpu", 1_500, 12_345_678_901, 7), worker(None, "pre", 1, 2, 3)],
            functions: vec![
                function(None, "gpu", "Sentiment::classify", 40, 12_345_678_900),
                function(None, "pre", "preprocess_text", 41, 2),
            ],
            calls: CallsFrom::Meter,
        };
        let sum = |rows: &[Row]| rows.iter().map(|row| row.nanodollars.0).sum::<u64>();
        for by in [By::Worker, By::Function] {
            let (rows, total) = rows(&costs, by);
            assert_eq!((sum(&rows), total.0), (12_345_680_414, 12_345_680_414), "{by:?}");
        }
        let (rows, total) = rows(&costs, By::Function);
        assert_eq!((rows[2].name.as_str(), rows[2].nanodollars.0), (REST, 1_512));
        let (head, cells) = cells(&rows, total, By::Function);
        assert_eq!(head, ["function", "worker", "calls", "seconds", "cost"]);
        assert_eq!(cells[1][1..], ["pre", "41", "1.2 s", " $0.000000002"]);
        assert_eq!(cells[3][4], "$12.345680414");
    }

    #[test]
    fn a_worker_row_splits_its_bill() {
        let costs = Costs {
            workers: vec![worker(None, "gpu", 10, 20, 5)],
            functions: vec![function(None, "gpu", "a", 2, 8), function(None, "gpu", "b", 3, 12)],
            calls: CallsFrom::Meter,
        };
        let (rows, total) = rows(&costs, By::Worker);
        let (_, cells) = cells(&rows, total, By::Worker);
        assert_eq!(
            cells[0],
            [
                "gpu",
                "5",
                "$0.000000010",
                "0.5 s",
                "$0.000000020",
                "1.2 s",
                "$0.000000005",
                "3.0 s",
                "$0.000000035"
            ]
        );
    }

    #[test]
    fn days_are_in_order_and_hold_all_worker_types() {
        let (first, second) = (1_793_491_200_000, 1_793_577_600_000);
        let costs = Costs {
            workers: vec![
                worker(Some(second), "a", 1, 1, 1),
                worker(Some(first), "a", 2, 2, 2),
                worker(Some(first), "b", 3, 3, 3),
            ],
            functions: vec![function(Some(first), "b", "f", 7, 3)],
            calls: CallsFrom::Meter,
        };
        let (rows, _) = rows(&costs, By::Day);
        let seen: Vec<_> = rows.iter().map(|row| (row.name.as_str(), row.calls, row.nanodollars.0)).collect();
        assert_eq!(seen, [("2026-11-01", Some(7), 15), ("2026-11-02", Some(0), 3)]);
    }

    #[test]
    fn an_estimate_stands_beside_the_bill() {
        let billed = |name: &str, bill: u64| WorkerCost {
            day_ms: None,
            worker: name.to_owned(),
            bill: NanoDollars(bill),
            split: None,
        };
        let costs = Costs {
            workers: vec![billed("gpu", 5_000), billed("page", 700)],
            functions: vec![function(None, "gpu", "a", 2, 4_000)],
            calls: CallsFrom::Logs,
        };
        let (by_worker, total) = rows(&costs, By::Worker);
        let (head, cells) = estimated_cells(&by_worker, total, By::Worker);
        assert_eq!(head, ["worker", "calls", "estimate", "billed"]);
        assert_eq!(cells[0], ["gpu", "2", "$0.000004000", "$0.000005000"]);
        assert_eq!(cells[1], ["page", "0", "$0.000000000", "$0.000000700"]);
        assert_eq!(cells[2], ["total", "2", "$0.000004000", "$0.000005700"]);
        let (by_function, total) = rows(&costs, By::Function);
        let (_, cells) = estimated_cells(&by_function, total, By::Function);
        let costs: Vec<_> = cells.iter().map(|row| (row[0].as_str(), row[4].as_str())).collect();
        assert_eq!(costs, [("a", "$0.000004000"), ("total", "$0.000004000"), ("billed", "$0.000005700")]);
    }
}
