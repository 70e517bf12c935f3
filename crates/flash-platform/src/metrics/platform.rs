//! Metrics of the platform as a whole, and of its process.
use super::{
    family::{Metric, Sample, Value},
    numbers::Numbers,
    process::ProcessNumbers,
};

/// The only sample of a metric, without labels.
fn only<'a>(value: Value<'a>) -> [Sample<'a>; 1] {
    [Sample { labels: Vec::new(), value }]
}

/// The metrics of the platform.
pub(super) fn metrics(numbers: &Numbers) -> Vec<Metric<'_>> {
    let build = [Sample { labels: vec![("version", env!("CARGO_PKG_VERSION"))], value: Value::Gauge(1) }];
    let mut metrics = vec![Metric::gauge("build_info", "Always 1; the version of flash is a label", build)];
    if let Some(live) = numbers.live {
        metrics.push(Metric::gauge(
            "live_release",
            "The number of the live release",
            only(Value::Gauge(live)),
        ));
    }
    if let Some(memory) = numbers.job_memory {
        let (held, limit) = (only(Value::Gauge(memory.held_bytes)), only(Value::Gauge(memory.limit_bytes)));
        metrics.extend([
            Metric::gauge("job_memory_bytes", "Memory that jobs hold", held),
            Metric::gauge("job_memory_limit_bytes", "Memory past which new jobs are refused", limit),
        ]);
    }
    let posts = numbers
        .posts
        .iter()
        .map(|(outcome, count)| Sample { labels: vec![("outcome", outcome)], value: Value::Counter(*count) });
    metrics.push(Metric::counter("webhook_posts", "POSTs to receivers of webhooks by their outcome", posts));
    metrics
}

/// The metrics of this process, under the names that all programs use for them.
pub(super) fn of_process(process: &ProcessNumbers) -> Vec<Metric<'static>> {
    let ProcessNumbers { cpu_seconds, open_descriptors, max_descriptors, resident, virtual_memory, start } =
        *process;
    let gauge = |name, help, value| Metric::gauge(name, help, only(Value::Gauge(value)));
    let mut metrics = vec![
        Metric::counter("process_cpu_seconds", "Processor time in seconds", only(Value::Sum(cpu_seconds))),
        gauge("process_open_fds", "Open file descriptors", open_descriptors),
        gauge("process_resident_memory_bytes", "Resident memory in bytes", resident),
        gauge("process_virtual_memory_bytes", "Virtual memory in bytes", virtual_memory),
        Metric::gauge(
            "process_start_time_seconds",
            "Start of the process in seconds since 1970",
            only(Value::Level(start)),
        ),
    ];
    if let Some(limit) = max_descriptors {
        metrics.push(gauge("process_max_fds", "The largest number of open file descriptors", limit));
    }
    metrics
}
