//! One metric with its samples, as the library writes it.
use std::fmt;

use flash_protocol::{Latencies, app_metrics::AppHistogram};
use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder},
    metrics::MetricType,
    registry::Unit,
};

use crate::tally::SizeClasses;

/// No exemplars: samples that explain a value.
type NoLabels = [(&'static str, &'static str); 0];

/// Labels of a sample: names and values.
pub(super) type LabelPairs<'a> = Vec<(&'a str, &'a str)>;

/// One value with its labels.
pub(super) struct Sample<'a> {
    pub labels: LabelPairs<'a>,
    pub value: Value<'a>,
}

pub(super) enum Value<'a> {
    Gauge(u64),
    /// In a unit that divides: seconds, shares.
    Level(f64),
    Counter(u64),
    /// In a unit that divides: seconds, dollars.
    Sum(f64),
    Latencies(&'a Latencies),
    Sizes(&'a SizeClasses),
    /// Of the app's own.
    Histogram(&'a AppHistogram),
}

/// All samples of one metric.
pub(super) struct Metric<'a> {
    name: &'a str,
    help: &'a str,
    unit: Option<Unit>,
    kind: MetricType,
    samples: Vec<Sample<'a>>,
}

impl<'a> Metric<'a> {
    /// A value that goes up and down. Its unit is part of the name.
    pub(super) fn gauge(name: &'a str, help: &'a str, samples: impl IntoIterator<Item = Sample<'a>>) -> Self {
        Self::new(name, help, None, MetricType::Gauge, samples)
    }

    /// A value that only grows. The name is written with `_total` behind its unit.
    pub(super) fn counter(
        name: &'a str,
        help: &'a str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) -> Self {
        Self::new(name, help, None, MetricType::Counter, samples)
    }

    /// Numbers of things by their size.
    pub(super) fn sizes(name: &'a str, help: &'a str, samples: impl IntoIterator<Item = Sample<'a>>) -> Self {
        Self::new(name, help, None, MetricType::Histogram, samples)
    }

    /// Numbers of things by how long they took. The name is written with `_seconds`.
    pub(super) fn times(name: &'a str, help: &'a str, samples: impl IntoIterator<Item = Sample<'a>>) -> Self {
        Self::new(name, help, Some(Unit::Seconds), MetricType::Histogram, samples)
    }

    fn new(
        name: &'a str,
        help: &'a str,
        unit: Option<Unit>,
        kind: MetricType,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) -> Self {
        Self { name, help, unit, kind, samples: samples.into_iter().collect() }
    }

    /// Writes it, unless it has no samples.
    pub(super) fn write(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if self.samples.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), self.kind)?;
        for Sample { labels, value } in &self.samples {
            value.encode(family.encode_family(&Labels(labels))?)?;
        }
        Ok(())
    }
}

impl EncodeMetric for Value<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Gauge(value) => encoder.encode_gauge(value),
            Self::Level(value) => encoder.encode_gauge(value),
            Self::Counter(value) => encoder.encode_counter::<NoLabels, _, u64>(value, None),
            Self::Sum(value) => encoder.encode_counter::<NoLabels, _, f64>(value, None),
            Self::Latencies(latencies) => encoder.encode_histogram::<NoLabels>(
                latencies.sum().as_secs_f64(),
                latencies.count(),
                &latencies.classes(),
                None,
            ),
            Self::Sizes(sizes) => encoder.encode_histogram::<NoLabels>(
                sizes.sum() as f64,
                sizes.count(),
                &sizes.classes(),
                None,
            ),
            Self::Histogram(values) => {
                encoder.encode_histogram::<NoLabels>(values.sum, values.count(), &values.classes(), None)
            }
        }
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Self::Gauge(_) | Self::Level(_) => MetricType::Gauge,
            Self::Counter(_) | Self::Sum(_) => MetricType::Counter,
            Self::Latencies(_) | Self::Sizes(_) | Self::Histogram(_) => MetricType::Histogram,
        }
    }
}

/// Labels as the library takes them.
#[derive(Debug)]
struct Labels<'a>(&'a [(&'a str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}
