//! Sentiment of texts, by one of two models behind one interface.
//!
//! Owns the weights, how text becomes tensors, and the choices of model and device. Knows nothing of
//! requests, jobs or workers: a worker loads a model once, has it read each text, and runs what was read in
//! batches.
//!
//! | model | weights | what it is |
//! |---|---|---|
//! | [`NgramClassifier`] | inside the program | hashed words and character pieces, one embedding table |
//! | [`MiniLm`] | a directory of 90 MB | a frozen BERT sentence encoder with a small trained head |
//!
//! Every model answers with [`Scores`]: three probabilities that sum to 1.
mod choice;
mod device;
mod encoder;
mod error;
mod features;
mod labels;
mod minilm;
mod minilm_files;
mod ngram;
mod ngram_net;
#[cfg(test)]
mod tests;

use candle_core::Tensor;

pub use choice::{Chosen, ModelChoice};
pub use device::{ComputeDevice, DeviceChoice, DeviceInfo};
pub use encoder::SentenceEncoder;
pub use error::{ModelError, Origin};
pub use features::{Features, stable_hash};
pub use labels::{Label, Scores};
pub use minilm::{HeadNet, MiniLm};
pub use minilm_files::{MINILM_DIR, find_minilm};
pub use ngram::NgramClassifier;
pub use ngram_net::{Batch, NgramNet};

/// A model that judges how texts feel about their subject.
pub trait SentimentModel: Send + Sync {
    /// Cuts a text into what the model takes. Any text is allowed, the empty one included.
    ///
    /// # Errors
    /// When the tokenizer fails; never because of what the text says.
    fn read(&self, text: &str) -> Result<Reading, ModelError>;

    /// Judges several texts in one pass through the model: scores for each, in their order.
    ///
    /// # Errors
    /// When the device fails, or another model has read one of the texts.
    fn classify(&self, texts: &[&Reading]) -> Result<Vec<Scores>, ModelError>;

    /// The family of the model, the same for all its versions.
    fn model_type(&self) -> &'static str;

    /// Which weights are loaded.
    fn version(&self) -> &str;
}

/// A text as a model reads it. Only the model that has read it can judge it.
#[derive(Debug, Clone)]
pub enum Reading {
    /// By [`NgramClassifier`].
    Features(Features),
    /// By [`MiniLm`].
    Tokens(Vec<u32>),
}

impl Reading {
    /// What it costs to judge: the number of tokens, or of features.
    pub fn cost(&self) -> usize {
        match self {
            Self::Features(features) => features.words.len() + features.pieces.len(),
            Self::Tokens(tokens) => tokens.len(),
        }
    }
}

/// The scores in the lines of raw outputs.
fn scores(logits: &Tensor) -> Result<Vec<Scores>, ModelError> {
    let lines = logits.to_vec2::<f32>()?;
    Ok(lines.iter().map(|line| Scores::from_logits([line[0], line[1], line[2]])).collect())
}
