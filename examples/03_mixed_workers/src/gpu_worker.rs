//! The expensive stage: the sentiment model, loaded once per worker. The texts that wait go through it
//! together.
//!
//! On a worker with a GPU (and a build with the feature `cuda`) it runs there; elsewhere on the CPU, unless
//! the environment forbids that. `model_info.device` says which.
use std::str::FromStr;

use flash_sdk::{Error, Result, remote};
use mixed_workers::model::{ComputeDevice, DeviceChoice, ModelChoice, Reading, Scores, SentimentModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cpu_worker::{Prediction, first_characters, now};

/// Chooses the model: `auto` (the default: `minilm` where its files are found, else `ngram`), `ngram`, which
/// is inside the program, or `minilm`.
const MODEL: &str = "SENTIMENT_MODEL";
/// Chooses the device: `auto` (the default: a GPU where there is one, else the CPU), `cuda` or `cpu`. With
/// `cuda` a worker without a GPU does not start.
const DEVICE: &str = "SENTIMENT_DEVICE";

/// A cleaned text.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CleanText {
    /// What the model reads.
    pub cleaned_text: String,
    /// Its words.
    pub word_count: usize,
}

/// What the model says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Inference {
    /// `success`.
    pub status: String,
    /// Positive, neutral and negative; they sum to 1.
    pub predictions: Vec<Prediction>,
    /// Which model, and where it ran.
    pub model_info: ModelInfo,
    /// What it read.
    pub input_stats: InputStats,
    /// When, in RFC 3339.
    pub timestamp: String,
    /// Where.
    pub worker_type: String,
}

/// Which model, and where it ran.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ModelInfo {
    /// The family of the model.
    pub model_type: String,
    /// Its weights.
    pub version: String,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// The GPU, if there is one.
    pub gpu_name: Option<String>,
    /// Its memory in GiB.
    pub gpu_memory_gb: Option<f64>,
}

/// What the model read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct InputStats {
    /// The first 100 characters.
    pub cleaned_text: String,
    /// Words in all of it.
    pub word_count: usize,
}

/// One text on its way through the model.
#[derive(Debug, Clone)]
pub struct Prepared {
    input: CleanText,
    reading: Reading,
}

impl Prepared {
    fn cost(&self) -> usize {
        self.reading.cost()
    }
}

/// A loaded model.
pub struct Sentiment {
    model: Box<dyn SentimentModel>,
    device: ComputeDevice,
}

#[remote(worker = "inference_worker", gpu = Ada24, workers = 0..=3, idle_timeout = 5, execution_timeout = 120)]
impl Sentiment {
    /// Loads the model that the environment names, or the best one that is there.
    #[init]
    fn load() -> Result<Self> {
        let model: ModelChoice = setting(MODEL, "`auto`, `ngram` or `minilm`")?;
        let device: DeviceChoice = setting(DEVICE, "`auto`, `cuda` or `cpu`")?;
        let device = ComputeDevice::choose(device)?;
        let chosen = model.choose()?;
        let model = chosen.load(&device.device)?;
        tracing::info!(
            "{} {} loaded on {}: {chosen}",
            model.model_type(),
            model.version(),
            device.info.device
        );
        Ok(Self { model, device })
    }

    /// For each caller by itself, while a batch runs.
    fn prepare(&self, input: CleanText) -> Result<Prepared> {
        let reading = self.model.read(&input.cleaned_text)?;
        Ok(Prepared { input, reading })
    }

    /// Judges whether a text is positive, neutral or negative. A caller passes one text; those that wait go
    /// through the model in one pass.
    // 32 texts of 256 tokens, the most that MiniLM reads.
    #[batch(max = 32, budget = 8192, cost = Prepared::cost, padded, prepare = Self::prepare)]
    pub fn classify(&self, texts: Vec<Prepared>) -> Vec<Result<Inference>> {
        let readings: Vec<&Reading> = texts.iter().map(|text| &text.reading).collect();
        match self.model.classify(&readings) {
            Ok(scores) => texts
                .iter()
                .zip(scores)
                .map(|(text, scores)| Ok(self.inference(&text.input, scores)))
                .collect(),
            Err(error) => {
                let error = Error::from(error).into_wire();
                texts.iter().map(|_| Err(error.clone().into())).collect()
            }
        }
    }
}

impl Sentiment {
    fn inference(&self, input: &CleanText, scores: Scores) -> Inference {
        let info = &self.device.info;
        let gpu = info.gpu_name.is_some() || info.device != "cpu";
        Inference {
            status: "success".to_owned(),
            predictions: predictions(scores),
            model_info: ModelInfo {
                model_type: self.model.model_type().to_owned(),
                version: self.model.version().to_owned(),
                device: info.device.to_owned(),
                gpu_name: info.gpu_name.clone(),
                gpu_memory_gb: info.gpu_memory_gb,
            },
            input_stats: InputStats {
                cleaned_text: first_characters(&input.cleaned_text, 100, ""),
                word_count: input.word_count,
            },
            timestamp: now(),
            worker_type: if gpu { "GPU" } else { "GPU worker on CPU" }.to_owned(),
        }
    }
}

/// A setting of the environment, or its default if it is unset or empty.
fn setting<T: FromStr + Default>(name: &str, expected: &str) -> Result<T> {
    match std::env::var(name) {
        Ok(text) if !text.is_empty() => {
            text.parse().map_err(|_| Error::handler(format!("{name} is `{text}`; {expected} is expected")))
        }
        _ => Ok(T::default()),
    }
}

/// Four decimals that still sum to 1: the largest takes what rounding left over.
fn predictions(scores: Scores) -> Vec<Prediction> {
    let mut rounded: Vec<(String, i64)> = scores
        .iter()
        .map(|(label, score)| (label.as_str().to_owned(), (f64::from(score) * 10_000.0).round() as i64))
        .collect();
    let missing = 10_000 - rounded.iter().map(|(_, parts)| parts).sum::<i64>();
    if let Some((_, parts)) = rounded.iter_mut().max_by_key(|(_, parts)| *parts) {
        *parts += missing;
    }
    rounded
        .into_iter()
        .map(|(label, parts)| Prediction { label, confidence: parts as f64 / 10_000.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_predictions_sum_to_one() {
        for logits in [[0.0, 0.0, 0.0], [3.0, -1.0, 0.5], [9.0, -9.0, 0.0]] {
            let predictions = predictions(Scores::from_logits(logits));
            let parts: f64 = predictions.iter().map(|prediction| prediction.confidence * 10_000.0).sum();
            assert_eq!(parts.round() as i64, 10_000, "{predictions:?}");
        }
    }

    fn shipped() -> Sentiment {
        let device = ComputeDevice::cpu();
        let model = ModelChoice::Ngram.choose().unwrap().load(&device.device).unwrap();
        Sentiment { model, device }
    }

    fn label(inference: &Inference) -> &str {
        let best = inference.predictions.iter().max_by(|a, b| a.confidence.total_cmp(&b.confidence));
        &best.unwrap().label
    }

    #[test]
    fn callers_share_a_batch_and_each_gets_the_answer_to_its_own_text() {
        let model = shipped();
        let texts =
            ["This product is amazing! I love it!", "Worst purchase ever, a complete waste of money."];
        let prepared = texts.map(|text| {
            model.prepare(CleanText { cleaned_text: text.to_owned(), word_count: text.len() }).unwrap()
        });
        assert!(prepared[0].cost() < prepared[1].cost());
        let answers: Vec<Inference> =
            model.classify_on(prepared.to_vec()).into_iter().map(Result::unwrap).collect();
        assert_eq!([label(&answers[0]), label(&answers[1])], ["positive", "negative"]);
        for (answer, text) in answers.iter().zip(texts) {
            assert_eq!(
                (&*answer.input_stats.cleaned_text, answer.input_stats.word_count),
                (text, text.len())
            );
            assert_eq!(answer.model_info.model_type, "hashed-ngram-classifier");
            assert_eq!(answer.model_info.device, "cpu");
        }
    }

    #[test]
    fn a_text_that_another_model_has_read_is_an_error_of_each_caller() {
        let model = shipped();
        let input = CleanText { cleaned_text: "Fine.".to_owned(), word_count: 1 };
        let foreign = Prepared { input, reading: Reading::Tokens(vec![101, 102]) };
        for answer in model.classify_on(vec![foreign.clone(), foreign]) {
            let error = answer.unwrap_err();
            assert!(error.message().contains("another model"), "{error:?}");
        }
    }

    #[test]
    fn a_setting_that_is_none_is_named_with_what_is_expected() {
        // Set in every process, and never one of these.
        let error = setting::<ModelChoice>("PATH", "`auto`, `ngram` or `minilm`").unwrap_err();
        assert!(error.message().starts_with("PATH is `"), "{error:?}");
        assert_eq!(setting::<ModelChoice>("SENTIMENT_NO_SUCH", "").unwrap(), ModelChoice::Auto);
    }
}
