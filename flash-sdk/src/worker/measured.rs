//! Metrics of the app's own: keeps what user code counts with `metrics`, and reports to the platform what changed.
use std::{
    collections::HashMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use flash_protocol::app_metrics::{AppHistogram, AppSeries, AppValue, SeriesId, help_of};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::reports::reports;

/// Series of one worker. A label whose values have no bound would take all memory.
const MAX_SERIES: usize = 256;
/// How often the platform is told, at most.
const BETWEEN_REPORTS: Duration = Duration::from_millis(500);

static MEASURED: OnceLock<Arc<Measured>> = OnceLock::new();

/// From now on, what user code counts is kept. Has no effect if it has installed a recorder of its own.
pub(super) fn install() {
    let measured = MEASURED.get_or_init(Arc::default).clone();
    let _ = metrics::set_global_recorder(OfThisWorker(measured));
}

/// Reports to the platform what changed, again and again. Runs until it is dropped.
pub(super) async fn report() {
    let measured = MEASURED.get_or_init(Arc::default);
    loop {
        measured.changed.notified().await;
        report_now();
        tokio::time::sleep(BETWEEN_REPORTS).await;
    }
}

/// Reports what has changed until now.
pub(super) fn report_now() {
    let Some(measured) = MEASURED.get() else { return };
    let changes = measured.take_changes();
    if !changes.is_empty() {
        reports().measured(changes);
    }
}

/// All series of this process.
#[derive(Default)]
struct Measured {
    series: Mutex<Series>,
    changed: Arc<Notify>,
}

#[derive(Default)]
struct Series {
    all: HashMap<SeriesId, Kept>,
    help: HashMap<String, String>,
    /// The log has told that there are too many.
    is_full_told: bool,
}

struct Kept {
    value: Value,
    has_changed: Arc<Changed>,
}

#[derive(Clone)]
enum Value {
    Counter(Arc<Count>),
    Gauge(Arc<Level>),
    Histogram(Arc<Sizes>),
}

/// Wakes the reports once for many changes.
struct Changed {
    is_set: AtomicBool,
    reports: Arc<Notify>,
}

impl Changed {
    fn set(&self) {
        if !self.is_set.swap(true, Ordering::AcqRel) {
            self.reports.notify_one();
        }
    }
}

/// How much a counter has grown since the last report.
struct Count {
    grown: AtomicU64,
    /// The largest total that the app has set.
    absolute: AtomicU64,
    changed: Arc<Changed>,
}

struct Level {
    bits: AtomicU64,
    changed: Arc<Changed>,
}

struct Sizes {
    values: Mutex<AppHistogram>,
    changed: Arc<Changed>,
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.grown.fetch_add(value, Ordering::AcqRel);
        self.changed.set();
    }

    fn absolute(&self, value: u64) {
        let before = self.absolute.fetch_max(value, Ordering::AcqRel);
        self.increment(value.saturating_sub(before));
    }
}

impl GaugeFn for Level {
    fn increment(&self, value: f64) {
        GaugeFn::increment(&self.bits, value);
        self.changed.set();
    }

    fn decrement(&self, value: f64) {
        GaugeFn::decrement(&self.bits, value);
        self.changed.set();
    }

    fn set(&self, value: f64) {
        GaugeFn::set(&self.bits, value);
        self.changed.set();
    }
}

impl HistogramFn for Sizes {
    fn record(&self, value: f64) {
        self.values.lock().record(value);
        self.changed.set();
    }
}

impl Measured {
    /// The series, made if there is room for it. `None`, told in the log, if there is not.
    fn of(&self, key: &Key, make: impl FnOnce(Arc<Changed>) -> Value) -> Option<Value> {
        let labels = key.labels().map(|label| (label.key(), label.value()));
        let id = SeriesId::of(key.name(), labels);
        let mut series = self.series.lock();
        let id = match id {
            Ok(id) => id,
            Err(why) => {
                let is_first = !std::mem::replace(&mut series.is_full_told, true);
                drop(series);
                if is_first {
                    tracing::warn!("the metric `{}` is left out, and perhaps others: {why}", key.name());
                }
                return None;
            }
        };
        if let Some(kept) = series.all.get(&id) {
            return Some(kept.value.clone());
        }
        if series.all.len() >= MAX_SERIES {
            let is_first = !std::mem::replace(&mut series.is_full_told, true);
            drop(series);
            if is_first {
                tracing::warn!(
                    "the metric `{}` is left out, and all new ones: this worker has {MAX_SERIES} series already; \
                     use labels with few values",
                    key.name()
                );
            }
            return None;
        }
        let changed = Arc::new(Changed { is_set: AtomicBool::new(false), reports: self.changed.clone() });
        let value = make(changed.clone());
        series.all.insert(id, Kept { value: value.clone(), has_changed: changed.clone() });
        drop(series);
        // It is there at zero.
        changed.set();
        Some(value)
    }

    /// What has changed since the last time.
    fn take_changes(&self) -> Vec<AppSeries> {
        let series = self.series.lock();
        let changed =
            series.all.iter().filter(|(_, kept)| kept.has_changed.is_set.swap(false, Ordering::AcqRel));
        let change = |(id, kept): (&SeriesId, &Kept)| {
            let value = match &kept.value {
                Value::Counter(count) => AppValue::Counter(count.grown.swap(0, Ordering::AcqRel)),
                Value::Gauge(level) => {
                    let value = f64::from_bits(level.bits.load(Ordering::Acquire));
                    AppValue::Gauge(Some(value).filter(|value| value.is_finite())?)
                }
                Value::Histogram(sizes) => AppValue::Histogram(std::mem::take(&mut *sizes.values.lock())),
            };
            let help = series.help.get(&id.name).cloned().unwrap_or_default();
            Some(AppSeries { id: id.clone(), help, value })
        };
        changed.filter_map(change).collect()
    }

    fn describe(&self, name: &str, help: &str) {
        // Without labels, only the name matters; one that cannot be used has no series either.
        let Ok(SeriesId { name, .. }) = SeriesId::of(name, []) else { return };
        let mut series = self.series.lock();
        if series.help.len() < MAX_SERIES {
            series.help.insert(name, help_of(help));
        }
    }
}

/// The recorder of `metrics`.
struct OfThisWorker(Arc<Measured>);

impl Recorder for OfThisWorker {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.0.describe(key.as_str(), &description);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.0.describe(key.as_str(), &description);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.0.describe(key.as_str(), &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let make = |changed| {
            let (grown, absolute) = (AtomicU64::new(0), AtomicU64::new(0));
            Value::Counter(Arc::new(Count { grown, absolute, changed }))
        };
        match self.0.of(key, make) {
            Some(Value::Counter(count)) => Counter::from_arc(count),
            // Refused, or the name is that of another kind.
            _ => Counter::noop(),
        }
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let make = |changed| Value::Gauge(Arc::new(Level { bits: AtomicU64::new(0), changed }));
        match self.0.of(key, make) {
            Some(Value::Gauge(level)) => Gauge::from_arc(level),
            _ => Gauge::noop(),
        }
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let make = |changed| Value::Histogram(Arc::new(Sizes { values: Mutex::default(), changed }));
        match self.0.of(key, make) {
            Some(Value::Histogram(sizes)) => Histogram::from_arc(sizes),
            _ => Histogram::noop(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> OfThisWorker {
        OfThisWorker(Arc::default())
    }

    #[test]
    fn only_what_changed_is_reported_and_counters_by_how_much() {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_counter!("orders_total", "Orders that were paid");
            metrics::counter!("orders_total", "land" => "ch").increment(2);
            metrics::gauge!("queue.depth").set(3.5);
            metrics::histogram!("price").record(20.0);
        });
        let mut changes = recorder.0.take_changes();
        changes.sort_by(|one, other| one.id.cmp(&other.id));
        let shown: Vec<_> =
            changes.iter().map(|series| (series.id.name.as_str(), series.help.as_str())).collect();
        assert_eq!(shown, [("orders", "Orders that were paid"), ("price", ""), ("queue_depth", "")]);
        assert_eq!(changes[0].value, AppValue::Counter(2));
        assert_eq!(changes[2].value, AppValue::Gauge(3.5));
        assert!(recorder.0.take_changes().is_empty());
        metrics::with_local_recorder(&recorder, || {
            metrics::counter!("orders_total", "land" => "ch").increment(1);
            metrics::gauge!("queue.depth").set(f64::NAN);
        });
        let changes = recorder.0.take_changes();
        assert!(changes.len() == 1 && changes[0].value == AppValue::Counter(1), "{changes:?}");
    }

    #[test]
    fn a_label_with_any_number_of_values_does_not_take_any_number_of_series() {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, || {
            for number in 0..2 * MAX_SERIES {
                metrics::counter!("visits", "user" => number.to_string()).increment(1);
            }
            metrics::counter!("visits", "user" => "0").increment(1);
        });
        let changes = recorder.0.take_changes();
        assert_eq!(changes.len(), MAX_SERIES);
        let first = changes.iter().find(|series| series.id.labels[0].1 == "0").unwrap();
        assert_eq!(first.value, AppValue::Counter(2), "those that are there go on");
    }
}
