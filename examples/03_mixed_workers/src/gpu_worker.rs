//! The expensive stage: the sentiment model, loaded once per worker.
//!
//! On a worker with a GPU (and a build with the feature `cuda`) it runs there; elsewhere on the CPU, unless
//! the environment forbids that. `model_info.device` says which.
use flash_sdk::{Error, Result, remote};
use mixed_workers::model::{ComputeDevice, DeviceChoice, ModelKind, Scores, SentimentModel};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cpu_worker::{Prediction, first_characters, now};

/// Chooses the model: `ngram` (the default, inside the program) or `minilm`.
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

/// A loaded model.
pub struct Sentiment {
    model: Box<dyn SentimentModel>,
    device: ComputeDevice,
}

#[remote(worker = "inference_worker", gpu = Ada24, workers = 0..=3, idle_timeout = 5, execution_timeout = 120)]
impl Sentiment {
    /// Loads the model that the environment names.
    #[init]
    fn load() -> Result<Self> {
        let kind = match std::env::var(MODEL).as_deref() {
            Err(_) | Ok("" | "ngram") => ModelKind::Ngram,
            Ok("minilm") => ModelKind::MiniLm,
            Ok(other) => {
                return Err(Error::handler(format!("{MODEL} is `{other}`; `ngram` or `minilm` is expected")));
            }
        };
        let choice = match std::env::var(DEVICE).as_deref() {
            Err(_) | Ok("") => DeviceChoice::default(),
            Ok(text) => text.parse().map_err(|()| {
                Error::handler(format!("{DEVICE} is `{text}`; `auto`, `cuda` or `cpu` is expected"))
            })?,
        };
        let device = ComputeDevice::choose(choice)?;
        let model = kind.load(&device.device)?;
        tracing::info!("{} {} loaded on {}", model.model_type(), model.version(), device.info.device);
        Ok(Self { model, device })
    }

    /// Judges whether a text is positive, neutral or negative.
    pub fn classify(&self, input: CleanText) -> Result<Inference> {
        let scores = self.model.classify(&input.cleaned_text)?;
        let info = &self.device.info;
        let gpu = info.gpu_name.is_some() || info.device != "cpu";
        Ok(Inference {
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
        })
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

    #[tokio::test]
    async fn the_shipped_model_knows_praise() {
        let input = CleanText { cleaned_text: "This product is amazing! I love it!".into(), word_count: 7 };
        let inference = Sentiment::classify(input).await.unwrap();
        let best = inference.predictions.iter().max_by(|a, b| a.confidence.total_cmp(&b.confidence)).unwrap();
        assert_eq!(best.label, "positive");
        assert_eq!(inference.model_info.device, "cpu");
    }
}
