//! Metrics of an app's own: counters and histograms of a worker type, summed over its workers and their ends.
//!
//! Gauges are of one worker and end with it; the pool keeps them with the worker.
use std::collections::BTreeMap;

use flash_protocol::app_metrics::{AppHistogram, AppSeries, AppValue, HISTOGRAM_BOUNDS, SeriesId, help_of};
use parking_lot::Mutex;

/// Series of one worker type, and gauges of one worker: workers choose the names.
const MAX_SERIES: usize = 1024;

/// A gauge of a worker: what it measures, and its value.
pub(crate) type Gauges = BTreeMap<SeriesId, (String, f64)>;

/// A sum over workers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum AppSum {
    Counter(u64),
    Histogram(AppHistogram),
}

/// A series with what it measures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summed {
    pub help: String,
    pub sum: AppSum,
}

/// See the module.
#[derive(Default)]
pub(crate) struct AppMetrics(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    sums: BTreeMap<SeriesId, Summed>,
    /// The log has told that a series was left out.
    is_told: bool,
}

impl AppMetrics {
    /// A worker has reported these. Its gauges go to `gauges`. Returns what the log should say, once.
    pub(crate) fn take(&self, series: Vec<AppSeries>, gauges: &mut Gauges) -> Option<String> {
        let mut inner = self.0.lock();
        let mut refused = None;
        for AppSeries { id, help, value } in series {
            let name = id.name.clone();
            if let Err(why) = inner.add(id, help_of(&help), value, gauges) {
                refused.get_or_insert((name, why));
            }
        }
        let (name, why) = refused.filter(|_| !inner.is_told)?;
        inner.is_told = true;
        // It may be any text.
        let name: String = name.chars().filter(|char| !char.is_control()).take(128).collect();
        Some(format!("the metric `{name}` of a worker is left out, and perhaps others: {why}"))
    }

    /// All sums, in order of their names.
    pub(crate) fn sums(&self) -> Vec<(SeriesId, Summed)> {
        self.0.lock().sums.iter().map(|(id, summed)| (id.clone(), summed.clone())).collect()
    }
}

impl Inner {
    fn add(
        &mut self,
        id: SeriesId,
        help: String,
        value: AppValue,
        gauges: &mut Gauges,
    ) -> Result<(), &'static str> {
        id.check()?;
        let full = "this worker type has 1,024 series already";
        let more = match value {
            AppValue::Gauge(value) => {
                if gauges.len() >= MAX_SERIES && !gauges.contains_key(&id) {
                    return Err(full);
                }
                gauges.insert(id, (help, value));
                return Ok(());
            }
            AppValue::Counter(more) => AppSum::Counter(more),
            AppValue::Histogram(more) if more.counts.len() > HISTOGRAM_BOUNDS.len() + 1 => {
                return Err("its classes are not those of the platform");
            }
            AppValue::Histogram(more) => AppSum::Histogram(more),
        };
        if self.sums.len() >= MAX_SERIES && !self.sums.contains_key(&id) {
            return Err(full);
        }
        let known = self.sums.entry(id).or_insert_with(|| Summed {
            help: help.clone(),
            sum: match &more {
                AppSum::Counter(_) => AppSum::Counter(0),
                AppSum::Histogram(_) => AppSum::Histogram(AppHistogram::default()),
            },
        });
        if known.help.is_empty() {
            known.help = help;
        }
        match (&mut known.sum, more) {
            (AppSum::Counter(sum), AppSum::Counter(more)) => *sum = sum.saturating_add(more),
            (AppSum::Histogram(sum), AppSum::Histogram(more)) => sum.add(&more),
            _ => return Err("another worker has one of that name and another kind"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, value: AppValue) -> AppSeries {
        let id = SeriesId { name: name.to_owned(), labels: Vec::new() };
        AppSeries { id, help: String::new(), value }
    }

    #[test]
    fn counters_of_all_workers_are_one_sum_and_gauges_stay_with_theirs() {
        let (own, mut one, mut other) = (AppMetrics::default(), Gauges::new(), Gauges::new());
        let counted =
            |value| vec![series("orders", AppValue::Counter(value)), series("depth", AppValue::Gauge(2.0))];
        assert_eq!(own.take(counted(2), &mut one), None);
        assert_eq!(own.take(counted(3), &mut other), None);
        let sums = own.sums();
        assert!(sums.len() == 1 && sums[0].1.sum == AppSum::Counter(5), "{sums:?}");
        assert_eq!((one.len(), other.len()), (1, 1));
    }

    #[test]
    fn what_a_worker_makes_up_is_bounded_and_told_once() {
        let (own, mut gauges) = (AppMetrics::default(), Gauges::new());
        let many = (0..2 * MAX_SERIES).flat_map(|number| {
            let name = format!("n{number}");
            [series(&name, AppValue::Counter(1)), series(&name, AppValue::Gauge(1.0))]
        });
        let said = own.take(many.collect(), &mut gauges).unwrap();
        assert!(said.contains("1,024 series"), "{said}");
        assert_eq!((own.sums().len(), gauges.len()), (MAX_SERIES, MAX_SERIES));
        let unsound = AppHistogram { sum: 0.0, counts: vec![1; 99] };
        for wrong in [
            series("flash_calls", AppValue::Counter(1)),
            series("a b", AppValue::Counter(1)),
            series("n0", AppValue::Histogram(AppHistogram::default())),
            series("new", AppValue::Histogram(unsound)),
        ] {
            assert_eq!(own.take(vec![wrong], &mut gauges), None);
        }
        assert_eq!(own.sums().len(), MAX_SERIES);
    }
}
