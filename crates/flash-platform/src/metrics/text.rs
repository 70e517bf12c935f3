//! Names, types and help of the metrics, and their text.
use std::fmt;

use flash_protocol::{Generations, Latencies, ModelLoad};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder, prometheus_text,
    },
    metrics::MetricType,
    registry::{Registry, Unit},
};

use super::numbers::TypeNumbers;
use crate::{
    pool::Counts,
    tally::{BatchClasses, SizeClasses},
};

/// Of the text that [`render`] writes.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The metrics of these worker types.
pub(crate) fn render(types: Vec<TypeNumbers>) -> String {
    let mut registry = Registry::with_prefix("flash");
    registry.register_collector(Box::new(Platform(types)));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}

/// No exemplars: samples that explain a value.
type NoLabels = [(&'static str, &'static str); 0];

/// Everything that is known at one moment.
#[derive(Debug)]
struct Platform(Vec<TypeNumbers>);

/// One value with its labels.
struct Sample<'a> {
    labels: Vec<(&'static str, &'a str)>,
    value: Value<'a>,
}

enum Value<'a> {
    Gauge(u64),
    Counter(u64),
    Latencies(&'a Latencies),
    Sizes(&'a SizeClasses),
}

/// All samples of one metric.
struct Metric<'a> {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    samples: Vec<Sample<'a>>,
}

impl EncodeMetric for Value<'_> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Gauge(value) => encoder.encode_gauge(value),
            Self::Counter(value) => encoder.encode_counter::<NoLabels, _, u64>(value, None),
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
        }
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Self::Gauge(_) => MetricType::Gauge,
            Self::Counter(_) => MetricType::Counter,
            Self::Latencies(_) | Self::Sizes(_) => MetricType::Histogram,
        }
    }
}

impl Metric<'_> {
    fn write(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
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

/// Labels as the library takes them.
#[derive(Debug)]
struct Labels<'a>(&'a [(&'static str, &'a str)]);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode(encoder)
    }
}

impl Collector for Platform {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let metrics = self.workers().into_iter().chain(self.batches()).chain(self.models());
        metrics.into_iter().try_for_each(|metric| metric.write(&mut encoder))
    }
}

/// Name, help, and the value in the numbers of a model.
type OfModel<T> = (&'static str, &'static str, for<'a> fn(&'a T) -> Value<'a>);

impl Platform {
    fn workers(&self) -> Vec<Metric<'_>> {
        let per_type = |value: fn(&TypeNumbers) -> Value<'_>| {
            let sample = move |of| Sample { labels: type_label(of), value: value(of) };
            self.0.iter().map(sample).collect()
        };
        let gauge = |name, help, samples| Metric { name, help, unit: None, kind: MetricType::Gauge, samples };
        let states = self.0.iter().flat_map(|of| {
            let state = |(state, count): (&'static str, u32)| Sample {
                labels: with(of, "state", state),
                value: Value::Gauge(count.into()),
            };
            states(&of.counts).map(state)
        });
        let outcomes = self.0.iter().flat_map(|of| {
            [("completed", of.completed), ("failed", of.failed)].map(|(outcome, count)| Sample {
                labels: with(of, "outcome", outcome),
                value: Value::Counter(count),
            })
        });
        vec![
            gauge("workers", "Workers of the live release by state", states.collect()),
            gauge("calls_waiting", "Jobs or requests that wait", per_type(|of| Value::Gauge(of.waiting))),
            gauge(
                "calls_running",
                "Jobs or requests that workers have",
                per_type(|of| Value::Gauge(of.running)),
            ),
            Metric {
                name: "calls",
                help: "Jobs or requests that ended; cancelled ones are not counted",
                unit: None,
                kind: MetricType::Counter,
                samples: outcomes.collect(),
            },
        ]
    }

    fn batches(&self) -> Vec<Metric<'_>> {
        let of_each = |value: fn(&BatchClasses) -> Value<'_>| {
            let sample = move |(of, function, batches)| Sample {
                labels: with(of, "function", function),
                value: value(batches),
            };
            self.each_function().map(sample).collect()
        };
        let metric =
            |name, help, unit, samples| Metric { name, help, unit, kind: MetricType::Histogram, samples };
        vec![
            metric("batch_size", "Calls in a batch", None, of_each(|of| Value::Sizes(&of.size))),
            metric("batch_cost", "Cost of a batch", None, of_each(|of| Value::Sizes(&of.cost))),
            metric(
                "batch_prepare",
                "From the start of a call until it is in the line",
                Some(Unit::Seconds),
                of_each(|of| Value::Latencies(&of.prepare)),
            ),
            metric(
                "batch_queue",
                "Time of a call in the line",
                Some(Unit::Seconds),
                of_each(|of| Value::Latencies(&of.wait)),
            ),
            metric(
                "batch_run",
                "Time that a batch runs",
                Some(Unit::Seconds),
                of_each(|of| Value::Latencies(&of.run)),
            ),
        ]
    }

    fn models(&self) -> Vec<Metric<'_>> {
        let mut metrics = Vec::new();
        let loads: [OfModel<ModelLoad>; 2] = [
            ("model_answers_running", "Answers that models compute", |of| Value::Gauge(of.running.into())),
            ("model_answers_waiting", "Answers that wait for a model", |of| Value::Gauge(of.waiting.into())),
        ];
        for (name, help, value) in loads {
            let samples = self.0.iter().flat_map(|of| {
                of.loads
                    .iter()
                    .map(move |(model, load)| Sample { labels: with(of, "model", model), value: value(load) })
            });
            let samples = samples.collect();
            metrics.push(Metric { name, help, unit: None, kind: MetricType::Gauge, samples });
        }
        let ends = self.each_model().flat_map(|(of, model, sums)| {
            sums.ends().map(|(end, count)| {
                let mut labels = with(of, "model", model);
                labels.push(("finish_reason", end.as_str()));
                Sample { labels, value: Value::Counter(count) }
            })
        });
        metrics.push(Metric {
            name: "model_answers",
            help: "Answers of models by how they ended; embeddings end with stop",
            unit: None,
            kind: MetricType::Counter,
            samples: ends.collect(),
        });
        let counts: [OfModel<Generations>; 3] = [
            ("model_prompt_tokens", "Tokens of prompts and of embedded texts", |of| {
                Value::Counter(of.prompt_tokens)
            }),
            ("model_cached_prompt_tokens", "Tokens of prompts that the model knew already", |of| {
                Value::Counter(of.cached_tokens)
            }),
            ("model_generated_tokens", "Tokens of answers", |of| Value::Counter(of.completion_tokens)),
        ];
        let times: [OfModel<Generations>; 4] = [
            ("model_queue_time", "From a request until its model begins with it", |of| {
                Value::Latencies(&of.queue)
            }),
            ("model_time_to_first_token", "From a request until its first token", |of| {
                Value::Latencies(&of.first_token)
            }),
            ("model_inter_token_latency", "Between two tokens of an answer", |of| {
                Value::Latencies(&of.between_tokens)
            }),
            ("model_answer_latency", "From a request until the end of its answer", |of| {
                Value::Latencies(&of.total)
            }),
        ];
        let of_each = |value: fn(&Generations) -> Value<'_>| {
            let sample =
                move |(of, model, sums)| Sample { labels: with(of, "model", model), value: value(sums) };
            self.each_model().map(sample).collect()
        };
        for (name, help, value) in counts {
            let samples = of_each(value);
            metrics.push(Metric { name, help, unit: None, kind: MetricType::Counter, samples });
        }
        for (name, help, value) in times {
            let (unit, samples) = (Some(Unit::Seconds), of_each(value));
            metrics.push(Metric { name, help, unit, kind: MetricType::Histogram, samples });
        }
        metrics
    }

    fn each_function(&self) -> impl Iterator<Item = (&TypeNumbers, &str, &BatchClasses)> {
        self.0
            .iter()
            .flat_map(|of| of.batches.iter().map(move |(name, batches)| (of, name.as_str(), batches)))
    }

    fn each_model(&self) -> impl Iterator<Item = (&TypeNumbers, &str, &Generations)> {
        self.0.iter().flat_map(|of| of.models.iter().map(move |(model, sums)| (of, model.as_str(), sums)))
    }
}

fn type_label(of: &TypeNumbers) -> Vec<(&'static str, &str)> {
    vec![("worker_type", &of.worker_type)]
}

fn with<'a>(of: &'a TypeNumbers, label: &'static str, value: &'a str) -> Vec<(&'static str, &'a str)> {
    vec![("worker_type", &of.worker_type), (label, value)]
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flash_protocol::GenerationEnd;
    use prometheus_parse::{Scrape, Value};

    use super::*;

    fn numbers() -> TypeNumbers {
        let mut sums = Generations { prompt_tokens: 43, completion_tokens: 3, ..Generations::default() };
        sums.first_token.record(Duration::from_millis(120));
        sums.between_tokens.record(Duration::from_millis(10));
        sums.between_tokens.record(Duration::from_millis(10));
        sums.ended(GenerationEnd::Length);
        let mut batches = BatchClasses::default();
        batches.size.record(3);
        batches.run.record(Duration::from_secs(2));
        TypeNumbers {
            worker_type: "chat".to_owned(),
            counts: Counts { busy: 2, ..Counts::default() },
            waiting: 7,
            failed: 1,
            batches: vec![("embed".to_owned(), batches)],
            models: vec![("a \"quoted\"\\ name".to_owned(), sums)],
            loads: vec![("m".to_owned(), ModelLoad { running: 4, waiting: 5 })],
            ..TypeNumbers::default()
        }
    }

    fn scraped(types: Vec<TypeNumbers>) -> (String, Scrape) {
        let text = render(types);
        let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
        (text, scrape)
    }

    #[test]
    fn a_parser_of_prometheus_reads_every_number_with_its_labels() {
        let (text, scrape) = scraped(vec![numbers()]);
        let value = |name: &str, label: (&str, &str)| {
            let found = scrape
                .samples
                .iter()
                .find(|sample| sample.metric == name && sample.labels.get(label.0) == Some(label.1));
            found.unwrap_or_else(|| panic!("no {name} with {label:?} in\n{text}")).value.clone()
        };
        assert!(matches!(value("flash_workers", ("state", "busy")), Value::Gauge(2.0)));
        assert!(matches!(value("flash_calls_waiting", ("worker_type", "chat")), Value::Gauge(7.0)));
        assert!(matches!(value("flash_calls_total", ("outcome", "failed")), Value::Counter(1.0)));
        assert!(matches!(value("flash_model_answers_running", ("model", "m")), Value::Gauge(4.0)));
        assert!(matches!(
            value("flash_model_answers_total", ("finish_reason", "length")),
            Value::Counter(1.0)
        ));
        let histogram = |name, label| match value(name, label) {
            Value::Histogram(classes) => {
                classes.into_iter().map(|class| (class.less_than, class.count)).collect()
            }
            other => panic!("{name} is {other:?}"),
        };
        let sizes: Vec<(f64, f64)> = histogram("flash_batch_size", ("function", "embed"));
        // Cumulative, as Prometheus wants it.
        assert_eq!(sizes[..4], [(1.0, 0.0), (2.0, 0.0), (4.0, 1.0), (8.0, 1.0)]);
        let between: Vec<(f64, f64)> =
            histogram("flash_model_inter_token_latency_seconds", ("worker_type", "chat"));
        assert_eq!(between[2], (0.01, 2.0));
        assert_eq!(between.last(), Some(&(f64::INFINITY, 2.0)));
    }

    #[test]
    fn names_are_written_once_with_help_and_type_and_labels_are_escaped() {
        let (text, _) = scraped(vec![numbers(), TypeNumbers { worker_type: "other".into(), ..numbers() }]);
        for kind in ["# HELP ", "# TYPE "] {
            let mut names: Vec<&str> =
                text.lines().filter_map(|line| line.strip_prefix(kind)?.split(' ').next()).collect();
            let all = names.len();
            names.dedup();
            assert!(all > 15 && names.len() == all, "{text}");
        }
        assert!(text.contains(r#"model="a \"quoted\"\\ name""#), "{text}");
    }

    #[test]
    fn a_worker_type_without_batches_and_models_has_none_of_their_metrics() {
        let (text, _) = scraped(vec![TypeNumbers { worker_type: "w".into(), ..TypeNumbers::default() }]);
        assert!(
            text.contains("flash_workers") && !text.contains("batch") && !text.contains("model"),
            "{text}"
        );
    }

    /// The page that documents the metrics names each of them, and no other.
    #[test]
    fn the_documentation_names_each_metric_with_its_type() {
        let (text, _) = scraped(vec![numbers()]);
        let page = include_str!("../../../../docs/metrics.md");
        let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let documented = page.lines().filter(|line| line.starts_with("| `flash_")).count();
        let mut all = 0;
        for (name, kind) in kinds {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            assert!(row.is_some_and(|row| row.contains(kind)), "docs/metrics.md does not say {name}: {kind}");
            all += 1;
        }
        assert_eq!(documented, all);
    }
}
