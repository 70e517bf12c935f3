//! Metrics of batches, and of models behind OpenAI's API.
use flash_protocol::{Generations, ModelLoad};

use super::{
    family::{Metric, Sample, Value},
    numbers::TypeNumbers,
    workers::with,
};
use crate::tally::BatchClasses;

/// Name, help, and the value in the numbers of a model.
type OfModel<T> = (&'static str, &'static str, for<'a> fn(&'a T) -> Value<'a>);

/// The metrics of batches and models; only of worker types that had any.
pub(super) fn metrics(types: &[TypeNumbers]) -> Vec<Metric<'_>> {
    let mut metrics = batches(types);
    metrics.extend(loads(types));
    metrics.extend(generations(types));
    metrics
}

fn batches(types: &[TypeNumbers]) -> Vec<Metric<'_>> {
    let of_each = |value: fn(&BatchClasses) -> Value<'_>| {
        let sample = move |(of, function, batches)| Sample {
            labels: with(of, "function", function),
            value: value(batches),
        };
        each_function(types).map(sample)
    };
    vec![
        Metric::sizes("batch_size", "Calls in a batch", of_each(|of| Value::Sizes(&of.size))),
        Metric::sizes("batch_cost", "Cost of a batch", of_each(|of| Value::Sizes(&of.cost))),
        Metric::times(
            "batch_prepare",
            "From the start of a call until it is in the line",
            of_each(|of| Value::Latencies(&of.prepare)),
        ),
        Metric::times("batch_queue", "Time of a call in the line", of_each(|of| Value::Latencies(&of.wait))),
        Metric::times("batch_run", "Time that a batch runs", of_each(|of| Value::Latencies(&of.run))),
    ]
}

fn loads(types: &[TypeNumbers]) -> Vec<Metric<'_>> {
    let loads: [OfModel<ModelLoad>; 2] = [
        ("model_answers_running", "Answers that models compute", |of| Value::Gauge(of.running.into())),
        ("model_answers_waiting", "Answers that wait for a model", |of| Value::Gauge(of.waiting.into())),
    ];
    let metric = |(name, help, value): OfModel<ModelLoad>| {
        let samples = types.iter().flat_map(|of| {
            of.model_loads
                .iter()
                .map(move |(model, load)| Sample { labels: with(of, "model", model), value: value(load) })
        });
        Metric::gauge(name, help, samples)
    };
    loads.into_iter().map(metric).collect()
}

fn generations(types: &[TypeNumbers]) -> Vec<Metric<'_>> {
    let ends = each_model(types).flat_map(|(of, model, sums)| {
        sums.ends().map(|(end, count)| {
            let mut labels = with(of, "model", model);
            labels.push(("finish_reason", end.as_str()));
            Sample { labels, value: Value::Counter(count) }
        })
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
        let sample = move |(of, model, sums)| Sample { labels: with(of, "model", model), value: value(sums) };
        each_model(types).map(sample)
    };
    let mut metrics = vec![Metric::counter(
        "model_answers",
        "Answers of models by how they ended; embeddings end with stop",
        ends,
    )];
    metrics.extend(counts.map(|(name, help, value)| Metric::counter(name, help, of_each(value))));
    metrics.extend(times.map(|(name, help, value)| Metric::times(name, help, of_each(value))));
    metrics
}

fn each_function(types: &[TypeNumbers]) -> impl Iterator<Item = (&TypeNumbers, &str, &BatchClasses)> {
    types.iter().flat_map(|of| of.batches.iter().map(move |(name, batches)| (of, name.as_str(), batches)))
}

fn each_model(types: &[TypeNumbers]) -> impl Iterator<Item = (&TypeNumbers, &str, &Generations)> {
    types.iter().flat_map(|of| of.models.iter().map(move |(model, sums)| (of, model.as_str(), sums)))
}
