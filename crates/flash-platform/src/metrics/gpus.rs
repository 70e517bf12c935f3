//! Metrics of the GPUs of the machine.
use flash_protocol::GpuStatus;

use super::family::{Metric, Sample, Value};

/// A number of MiB.
fn bytes(mib: u64) -> Value<'static> {
    Value::Gauge(mib.saturating_mul(1 << 20))
}

/// The metrics of these GPUs. What the driver does not say is left out.
pub(super) fn metrics(gpus: &[GpuStatus]) -> Vec<Metric<'_>> {
    let of_each = |value: fn(&GpuStatus) -> Option<Value<'static>>| {
        gpus.iter().filter_map(move |gpu| {
            let labels = vec![("gpu", gpu.id.as_str()), ("name", gpu.name.as_str())];
            Some(Sample { labels, value: value(gpu)? })
        })
    };
    vec![
        Metric::gauge("gpu_memory_bytes", "Memory of a GPU", of_each(|gpu| gpu.memory_mib.map(bytes))),
        Metric::gauge(
            "gpu_memory_used_bytes",
            "Memory of a GPU in use, by whatever program",
            of_each(|gpu| gpu.used_mib.map(bytes)),
        ),
        Metric::gauge(
            "gpu_memory_given_bytes",
            "Memory of a GPU that workers were given",
            of_each(|gpu| Some(bytes(gpu.given_mib))),
        ),
        Metric::gauge(
            "gpu_utilization_ratio",
            "How much of the last moments a GPU was busy, from 0 to 1",
            of_each(|gpu| gpu.busy_percent.map(|percent| Value::Level(percent as f64 / 100.0))),
        ),
        Metric::gauge(
            "gpu_workers",
            "Workers that have a GPU",
            of_each(|gpu| Some(Value::Gauge(gpu.workers.into()))),
        ),
    ]
}
