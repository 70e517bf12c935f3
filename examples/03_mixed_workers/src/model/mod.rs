//! Sentiment of a text, by one of two models behind one interface.
//!
//! Owns the weights, how text becomes tensors, and the choice of device. Knows nothing of requests, jobs
//! or workers: a worker loads a model once and asks it for every text.
//!
//! | model | weights | what it is |
//! |---|---|---|
//! | [`NgramClassifier`] | inside the program | hashed words and character pieces, one embedding table |
//! | [`MiniLm`] | a directory of 90 MB | a frozen BERT sentence encoder with a small trained head |
//!
//! Every model answers with [`Scores`]: three probabilities that sum to 1.
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

use candle_core::Device;

pub use device::{ComputeDevice, DeviceChoice, DeviceInfo};
pub use encoder::SentenceEncoder;
pub use error::{ModelError, Origin};
pub use features::{Features, stable_hash};
pub use labels::{Label, Scores};
pub use minilm::{HeadNet, MiniLm};
pub use minilm_files::{MINILM_DIR, find_minilm};
pub use ngram::NgramClassifier;
pub use ngram_net::{Batch, NgramNet};

/// A model that judges how a text feels about its subject.
pub trait SentimentModel: Send + Sync {
    /// Judges one text. Any text is allowed, the empty one included.
    ///
    /// # Errors
    /// When the tokenizer or the device fails; never because of what the text says.
    fn classify(&self, text: &str) -> Result<Scores, ModelError>;

    /// The family of the model, the same for all its versions.
    fn model_type(&self) -> &'static str;

    /// Which weights are loaded.
    fn version(&self) -> &str;
}

/// Which of the two models to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ModelKind {
    /// The small classifier whose weights travel inside the program.
    #[default]
    Ngram,
    /// The transformer, whose weights must be on the machine.
    MiniLm,
}

impl ModelKind {
    /// Loads the model onto `device`; MiniLM's files are looked for where [`find_minilm`] says.
    ///
    /// # Errors
    /// When MiniLM's files are missing, or weights cannot be read or do not fit the program.
    pub fn load(self, device: &Device) -> Result<Box<dyn SentimentModel>, ModelError> {
        Ok(match self {
            Self::Ngram => Box::new(NgramClassifier::load(device)?),
            Self::MiniLm => Box::new(MiniLm::load(&find_minilm()?, device)?),
        })
    }
}
