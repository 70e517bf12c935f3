//! The worker with the model.
use candle_core::{D, DType, Device, IndexOp as _, Tensor};
use candle_nn::{Module as _, VarBuilder, ops::softmax};
use flash_sdk::{Bytes, Error, ModelDir, Result, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    network::{CLASSES, EfficientNetLite},
    pixels,
};

/// What the classes are called, one a line.
const LABELS: &str = include_str!("../labels.txt");

/// How many guesses are worth telling.
const GUESSES: usize = 5;

/// What may be in a photo.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Guess {
    /// Its name.
    pub label: String,
    /// How likely it is, from 0 to 1.
    pub probability: f32,
}

/// A loaded model.
pub struct Classifier {
    network: EfficientNetLite,
    labels: Vec<&'static str>,
}

#[remote(
    worker = "classifier",
    cpu = Cpu3c_2_4,
    workers = 0..=2,
    model = "path:../../target/test-models/efficientnet-lite0",
    files = ["model.safetensors"]
)]
impl Classifier {
    /// Loads the weights, once per worker.
    #[init]
    fn load(model: ModelDir) -> Result<Self> {
        let weights = std::fs::read(model.file("model.safetensors")?)?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
        let labels: Vec<&str> = LABELS.lines().collect();
        assert_eq!(labels.len(), CLASSES, "labels.txt has a line for each class");
        Ok(Self { network: EfficientNetLite::new(weights)?, labels })
    }

    /// For each caller by itself: what is no photo fails alone, and decoding does not hold up a batch.
    fn prepare(&self, photo: Bytes) -> Result<Tensor> {
        pixels::read(&photo)
    }

    /// The photos that wait, in one go through the network.
    #[batch(max = 8, prepare = Self::prepare)]
    pub fn classify(&self, photos: Vec<Tensor>) -> Vec<Result<Vec<Guess>>> {
        match self.scores(&photos) {
            Ok(scores) => (0..photos.len()).map(|at| self.guesses(&scores.i(at)?)).collect(),
            Err(error) => photos.iter().map(|_| Err(Error::handler(error.to_string()))).collect(),
        }
    }
}

impl Classifier {
    fn scores(&self, photos: &[Tensor]) -> candle_core::Result<Tensor> {
        softmax(&self.network.forward(&Tensor::stack(photos, 0)?)?, D::Minus1)
    }

    fn guesses(&self, scores: &Tensor) -> Result<Vec<Guess>> {
        let scores: Vec<f32> = scores.to_vec1()?;
        let mut guesses: Vec<Guess> = scores
            .iter()
            .zip(&self.labels)
            .map(|(probability, label)| Guess { label: (*label).to_owned(), probability: *probability })
            .collect();
        guesses.sort_by(|a, b| b.probability.total_cmp(&a.probability));
        guesses.truncate(GUESSES);
        Ok(guesses)
    }
}
