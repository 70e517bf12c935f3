//! Metrics of worker types: their workers, their calls, and what these cost.
use super::{
    family::{LabelPairs, Metric, Sample, Value},
    numbers::{Numbers, TypeNumbers},
};
use crate::{pool::Counts, tally::Calls};

const NANO: f64 = 1e9;

/// The label of its worker type.
pub(super) fn type_label(of: &TypeNumbers) -> LabelPairs<'_> {
    vec![("worker_type", &of.worker_type)]
}

/// That, and another label.
pub(super) fn with<'a>(of: &'a TypeNumbers, label: &'static str, value: &'a str) -> LabelPairs<'a> {
    vec![("worker_type", &of.worker_type), (label, value)]
}

/// The metrics of all worker types.
pub(super) fn metrics(numbers: &Numbers) -> Vec<Metric<'_>> {
    let mut metrics = workers(&numbers.types);
    metrics.extend(calls(&numbers.types));
    metrics.extend(functions(numbers));
    metrics.extend(bills(numbers));
    metrics
}

/// A sample of each worker type.
fn per_type<'a>(
    types: &'a [TypeNumbers],
    value: impl Fn(&'a TypeNumbers) -> Value<'a>,
) -> impl Iterator<Item = Sample<'a>> {
    types.iter().map(move |of| Sample { labels: type_label(of), value: value(of) })
}

fn workers(types: &[TypeNumbers]) -> Vec<Metric<'_>> {
    let states = types.iter().flat_map(|of| {
        let state = |(state, count): (&'static str, u32)| Sample {
            labels: with(of, "state", state),
            value: Value::Gauge(count.into()),
        };
        states(&of.counts).map(state)
    });
    vec![
        Metric::gauge("workers", "Workers of the live release by state", states),
        Metric::gauge(
            "workers_max",
            "The largest number of workers",
            per_type(types, |of| Value::Gauge(of.workers_max.into())),
        ),
        Metric::times(
            "worker_start",
            "From the start of a worker until it is ready",
            per_type(types, |of| Value::Latencies(&of.times.started)),
        ),
        Metric::counter(
            "worker_crashes",
            "Workers that ended unasked",
            per_type(types, |of| Value::Counter(of.crashed)),
        ),
    ]
}

fn calls(types: &[TypeNumbers]) -> Vec<Metric<'_>> {
    let outcomes = types.iter().flat_map(|of| {
        [("completed", of.completed), ("failed", of.failed)].map(|(outcome, count)| Sample {
            labels: with(of, "outcome", outcome),
            value: Value::Counter(count),
        })
    });
    let answers = types.iter().flat_map(|of| {
        of.answers
            .iter()
            .map(|(code, count)| Sample { labels: with(of, "code", code), value: Value::Counter(*count) })
    });
    vec![
        Metric::gauge(
            "calls_waiting",
            "Jobs or requests that wait",
            per_type(types, |of| Value::Gauge(of.waiting())),
        ),
        Metric::gauge(
            "oldest_waiting_call_age_seconds",
            "How long the job or request has waited that has waited the longest",
            per_type(types, |of| Value::Level(of.load.oldest_wait.as_secs_f64())),
        ),
        Metric::gauge(
            "calls_running",
            "Jobs or requests that workers have",
            per_type(types, |of| Value::Gauge(of.load.running as u64)),
        ),
        Metric::counter("calls", "Jobs or requests that ended; cancelled ones are not counted", outcomes),
        Metric::times(
            "call_wait",
            "How long a job or request waited until a worker began with it",
            per_type(types, |of| Value::Latencies(&of.times.waited)),
        ),
        Metric::times(
            "call_run",
            "How long a worker took for a job or request",
            per_type(types, |of| Value::Latencies(&of.times.ran)),
        ),
        Metric::counter("requests", "Requests to load-balanced workers by the status of the answer", answers),
    ]
}

/// Each function of each worker type.
fn each_function(types: &[TypeNumbers]) -> impl Iterator<Item = (&TypeNumbers, &str, &Calls)> {
    types.iter().flat_map(|of| of.functions.iter().map(move |(name, calls)| (of, name.as_str(), calls)))
}

fn functions(numbers: &Numbers) -> Vec<Metric<'_>> {
    let ends = each_function(&numbers.types).flat_map(|(of, name, calls)| {
        calls.ends.all().map(move |(ending, count)| {
            let mut labels = with(of, "function", name);
            labels.push(("outcome", ending.as_str()));
            Sample { labels, value: Value::Counter(count) }
        })
    });
    let is_priced = |of: &TypeNumbers| {
        let bill = numbers.bills.get(of.worker_type.as_str());
        bill.is_some_and(|bill| bill.price.is_some() || bill.sums.bill > 0)
    };
    let priced = each_function(&numbers.types).filter(|(of, _, _)| is_priced(of));
    let costs = priced.map(|(of, name, calls)| Sample {
        labels: with(of, "function", name),
        value: Value::Sum(calls.cost.0 as f64 / NANO),
    });
    vec![
        Metric::counter("function_calls", "Jobs or requests that ended, by function and how", ends),
        Metric::counter(
            "function_cost_dollars",
            "What calls of a function cost: their share of their workers' running time",
            costs,
        ),
    ]
}

fn bills(numbers: &Numbers) -> Vec<Metric<'_>> {
    let label = |name| vec![("worker_type", name)];
    let started = numbers
        .bills
        .iter()
        .map(|(name, bill)| Sample { labels: label(&**name), value: Value::Counter(bill.sums.workers) });
    let priced = numbers.bills.iter().filter(|(_, bill)| bill.price.is_some() || bill.sums.bill > 0);
    let costs = priced.map(|(name, bill)| Sample {
        labels: label(&**name),
        value: Value::Sum(bill.sums.bill as f64 / NANO),
    });
    let times = numbers.bills.iter().flat_map(|(name, bill)| {
        let sums = &bill.sums;
        let activities = [("start", sums.start_time), ("run", sums.run_time), ("idle", sums.idle_time())];
        activities.map(|(activity, nanos)| Sample {
            labels: vec![("worker_type", &**name), ("activity", activity)],
            value: Value::Sum(nanos as f64 / NANO),
        })
    });
    vec![
        Metric::counter("worker_starts", "Workers whose process or container was started", started),
        Metric::counter("worker_seconds", "Time of workers by what they did", times),
        Metric::counter("cost_dollars", "What workers cost, each rounded up to seconds", costs),
    ]
}

fn states(counts: &Counts) -> [(&'static str, u32); 6] {
    let Counts { starting, idle, busy, stopping, unhealthy, throttled, loading_seconds: _ } = *counts;
    [
        ("starting", starting),
        ("idle", idle),
        ("busy", busy),
        ("stopping", stopping),
        ("unhealthy", unhealthy),
        ("throttled", throttled),
    ]
}
