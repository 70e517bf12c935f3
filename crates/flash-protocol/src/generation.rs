//! What models did for a request or a job: tokens, times, and how answers ended. For logs, counts and metrics.
use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

/// The answers of models to one request or job, by the name of the model.
pub type GenerationsByModel = BTreeMap<String, Generations>;

/// Upper bounds of the classes of [`Latencies`], in seconds: those of vLLM's and NVIDIA Dynamo's time to first token, so
/// that their dashboards fit.
pub const LATENCY_BOUNDS: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
];

/// How long things took: how many within each of [`LATENCY_BOUNDS`], and their sum.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latencies {
    /// How many took longer than the bound before and not longer than this one; the last class is what is above all
    /// bounds. Classes at the end without any are left out.
    counts: Vec<u64>,
    /// Microseconds, all together.
    sum_us: u64,
}

impl Latencies {
    /// One that took so long.
    pub fn record(&mut self, took: Duration) {
        let class = LATENCY_BOUNDS.partition_point(|bound| *bound < took.as_secs_f64());
        self.class(class, 1);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.sum_us = self.sum_us.saturating_add(micros);
    }

    /// Adds those of another. Classes that are not known here count as the longest.
    pub fn add(&mut self, other: &Self) {
        for (class, count) in other.counts.iter().enumerate() {
            self.class(class, *count);
        }
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    fn class(&mut self, class: usize, more: u64) {
        let class = class.min(LATENCY_BOUNDS.len());
        if self.counts.len() <= class {
            self.counts.resize(class + 1, 0);
        }
        self.counts[class] = self.counts[class].saturating_add(more);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// How long all of them took together.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The average; `None` if there were none.
    pub fn mean(&self) -> Option<Duration> {
        self.sum_us.checked_div(self.count()).map(Duration::from_micros)
    }

    /// Each bound in seconds with how many took longer than the one before and not longer than it. The last bound is
    /// infinite.
    pub fn classes(&self) -> Vec<(f64, u64)> {
        let bounds = LATENCY_BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().copied().chain(std::iter::repeat(0))).collect()
    }
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GenerationEnd {
    /// The end of the text, a stop string, or an embedding that is done.
    Stop,
    /// The largest number of tokens, or the end of the context.
    Length,
    /// Its client left, or its time was over.
    Abort,
    /// The model failed.
    Error,
}

impl GenerationEnd {
    /// Its name in metrics, as vLLM's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}

/// Sums over answers of one model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generations {
    /// Answers that ended by themselves.
    pub stop: u64,
    /// Answers that reached their limit.
    pub length: u64,
    /// Answers whose client left.
    pub abort: u64,
    /// Answers that failed.
    pub error: u64,
    /// Tokens of prompts that the model began to read, and of texts that were embedded.
    pub prompt_tokens: u64,
    /// Those of them that it knew already.
    pub cached_tokens: u64,
    /// Tokens of answers.
    pub completion_tokens: u64,
    /// From the request until the model began with it.
    pub queue: Latencies,
    /// From the request until the first token.
    pub first_token: Latencies,
    /// Between two tokens of an answer.
    pub between_tokens: Latencies,
    /// From the request until the end of the answer, or of the embedding.
    pub total: Latencies,
}

impl Generations {
    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.stop, other.stop),
            (&mut self.length, other.length),
            (&mut self.abort, other.abort),
            (&mut self.error, other.error),
            (&mut self.prompt_tokens, other.prompt_tokens),
            (&mut self.cached_tokens, other.cached_tokens),
            (&mut self.completion_tokens, other.completion_tokens),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
        self.queue.add(&other.queue);
        self.first_token.add(&other.first_token);
        self.between_tokens.add(&other.between_tokens);
        self.total.add(&other.total);
    }

    /// One more answer ended so.
    pub fn ended(&mut self, end: GenerationEnd) {
        let count = match end {
            GenerationEnd::Stop => &mut self.stop,
            GenerationEnd::Length => &mut self.length,
            GenerationEnd::Abort => &mut self.abort,
            GenerationEnd::Error => &mut self.error,
        };
        *count = count.saturating_add(1);
    }

    /// How many answers ended in each way.
    pub fn ends(&self) -> [(GenerationEnd, u64); 4] {
        [
            (GenerationEnd::Stop, self.stop),
            (GenerationEnd::Length, self.length),
            (GenerationEnd::Abort, self.abort),
            (GenerationEnd::Error, self.error),
        ]
    }

    /// All answers.
    pub fn count(&self) -> u64 {
        self.ends().into_iter().fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// For a line of the log: `43 tokens in (40 known), 64 out, first after 120.0 ms, then one every 15.2 ms, length`.
    pub fn line(&self) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let mut line = format!("{} tokens in", self.prompt_tokens);
        if self.cached_tokens > 0 {
            line.push_str(&format!(" ({} known)", self.cached_tokens));
        }
        if self.completion_tokens > 0 {
            line.push_str(&format!(", {} out", self.completion_tokens));
        }
        if let Some(first) = self.first_token.mean() {
            line.push_str(&format!(", first after {:.1} ms", ms(first)));
        }
        if let Some(between) = self.between_tokens.mean() {
            line.push_str(&format!(", then one every {:.1} ms", ms(between)));
        }
        for (end, count) in self.ends().into_iter().filter(|(_, count)| *count > 0) {
            let times = if count == 1 { String::new() } else { format!("{count} × ") };
            line.push_str(&format!(", {times}{}", end.as_str()));
        }
        line
    }
}

/// What a model has to do now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelLoad {
    /// Answers that the model computes.
    pub running: u32,
    /// Answers that wait for it.
    pub waiting: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_latency_counts_in_the_first_class_whose_bound_it_does_not_exceed() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.mean(), None);
        for took in [MS(1), MS(2), MS(5), Duration::from_secs(3000)] {
            latencies.record(took);
        }
        let classes = latencies.classes();
        assert_eq!(classes.len(), LATENCY_BOUNDS.len() + 1);
        assert_eq!((classes[0], classes[1]), ((0.001, 1), (0.005, 2)));
        assert_eq!(classes.last(), Some(&(f64::INFINITY, 1)));
        assert_eq!((latencies.count(), latencies.sum()), (4, MS(3_000_008)));
    }

    #[test]
    fn sums_of_a_worker_with_more_classes_are_added_and_stay_bounded() {
        let text = format!(r#"{{"counts":{:?},"sum_us":7}}"#, [1; 40]);
        let foreign: Latencies = serde_json::from_str(&text).unwrap();
        let mut sums = Latencies::default();
        sums.add(&foreign);
        assert_eq!((sums.count(), sums.counts.len()), (40, LATENCY_BOUNDS.len() + 1));
    }

    #[test]
    fn the_line_of_a_request_says_what_there_is() {
        let mut of = Generations { prompt_tokens: 43, cached_tokens: 40, ..Generations::default() };
        of.completion_tokens = 3;
        of.first_token.record(MS(120));
        of.between_tokens.record(MS(10));
        of.between_tokens.record(MS(20));
        of.ended(GenerationEnd::Length);
        let line = "43 tokens in (40 known), 3 out, first after 120.0 ms, then one every 15.0 ms, length";
        assert_eq!(of.line(), line);
        let mut embedded = Generations { prompt_tokens: 7, ..Generations::default() };
        embedded.ended(GenerationEnd::Stop);
        embedded.ended(GenerationEnd::Stop);
        assert_eq!(embedded.line(), "7 tokens in, 2 × stop");
    }
}
