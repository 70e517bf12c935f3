//! Metrics of the app's own, under their own names.
use std::collections::{BTreeMap, BTreeSet};

use flash_protocol::app_metrics::SeriesId;

use super::{
    family::{LabelPairs, Metric, Sample, Value},
    numbers::TypeNumbers,
};
use crate::app_metrics::{AppSum, Summed};

/// The samples of each name, with its help.
type Families<'a> = BTreeMap<&'a str, (&'a str, Vec<Sample<'a>>)>;

/// The metrics of all worker types that have any.
pub(super) fn metrics(types: &[TypeNumbers]) -> Vec<Metric<'_>> {
    let [mut counters, mut histograms, mut gauges] = [(); 3].map(|()| Families::new());
    for of in types {
        for (id, Summed { help, sum }) in &of.app_sums {
            let (families, value) = match sum {
                AppSum::Counter(sum) => (&mut counters, Value::Counter(*sum)),
                AppSum::Histogram(sum) => (&mut histograms, Value::Histogram(sum)),
            };
            add(families, id, help, Sample { labels: labels(of, None, id), value });
        }
        for (worker, (id, (help, value))) in
            of.app_gauges.iter().flat_map(|(worker, all)| all.iter().map(move |gauge| (worker, gauge)))
        {
            let value = Value::Level(*value);
            add(&mut gauges, id, help, Sample { labels: labels(of, Some(&**worker), id), value });
        }
    }
    // One name has one type; a counter has another name when it is written.
    let taken: BTreeSet<&str> = histograms.keys().copied().collect();
    gauges.retain(|name, _| !taken.contains(name));
    let counters = counters.into_iter().map(|(name, (help, samples))| Metric::counter(name, help, samples));
    let histograms = histograms.into_iter().map(|(name, (help, samples))| Metric::sizes(name, help, samples));
    let gauges = gauges.into_iter().map(|(name, (help, samples))| Metric::gauge(name, help, samples));
    counters.chain(histograms).chain(gauges).collect()
}

fn add<'a>(families: &mut Families<'a>, id: &'a SeriesId, help: &'a str, sample: Sample<'a>) {
    let (known, samples) = families.entry(&id.name).or_default();
    if known.is_empty() {
        *known = help;
    }
    samples.push(sample);
}

fn labels<'a>(of: &'a TypeNumbers, worker: Option<&'a str>, id: &'a SeriesId) -> LabelPairs<'a> {
    let platform = std::iter::once(("worker_type", of.worker_type.as_str()));
    let worker = worker.map(|worker| ("worker", worker));
    platform
        .chain(worker)
        .chain(id.labels.iter().map(|(label, value)| (label.as_str(), value.as_str())))
        .collect()
}
