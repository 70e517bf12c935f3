//! The transformer: the frozen sentence encoder with the head that this repository trained on it.
use std::{fs, path::Path};

use candle_core::{DType, Device, Result as CandleResult, Tensor};
use candle_nn::{Linear, Module, VarBuilder, linear};

use super::{Label, ModelError, Origin, Reading, Scores, SentenceEncoder, SentimentModel, scores};

const VERSION: &str = "all-MiniLM-L6-v2+head-1.0.0";
const EMBEDDED_HEAD: &[u8] = include_bytes!("../../model/minilm-head.safetensors");
const HIDDEN: usize = 128;

/// The trained layers above the encoder.
#[derive(Debug, Clone)]
pub struct HeadNet {
    hidden: Linear,
    output: Linear,
    scale: f64,
}

impl HeadNet {
    /// Name, inputs and outputs of each layer, for whoever makes the weights.
    pub fn layers(width: usize) -> [(&'static str, usize, usize); 2] {
        [("hidden", width, HIDDEN), ("output", HIDDEN, Label::ALL.len())]
    }

    /// Takes the layers' weights from `weights`; `width` is the length of a sentence's vector.
    ///
    /// # Errors
    /// When a weight is missing or of another shape.
    pub fn new(width: usize, weights: VarBuilder<'_>) -> CandleResult<Self> {
        let [hidden, output] =
            Self::layers(width).map(|(name, inputs, outputs)| linear(inputs, outputs, weights.pp(name)));
        // Entries of a vector of length 1 are tiny; at about 1 each, the layer learns at usual rates.
        let scale = (width as f64).sqrt();
        Ok(Self { hidden: hidden?, output: output?, scale })
    }

    /// The raw outputs, one line of three for each sentence.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&self, sentences: &Tensor) -> CandleResult<Tensor> {
        self.output.forward(&self.hidden(sentences)?)
    }

    /// The hidden layer alone: training drops some of its outputs at random.
    ///
    /// # Errors
    /// When the device fails.
    pub fn hidden(&self, sentences: &Tensor) -> CandleResult<Tensor> {
        self.hidden.forward(&(sentences * self.scale)?)?.gelu_erf()
    }

    /// The outputs from the hidden layer's.
    ///
    /// # Errors
    /// When the device fails.
    pub fn output(&self, hidden: &Tensor) -> CandleResult<Tensor> {
        self.output.forward(hidden)
    }
}

/// all-MiniLM-L6-v2 with a sentiment head.
pub struct MiniLm {
    encoder: SentenceEncoder,
    head: HeadNet,
}

impl MiniLm {
    /// Loads the encoder from a directory and the head that the program carries.
    ///
    /// # Errors
    /// When a file of the directory is missing, damaged or of another model.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, ModelError> {
        let encoder = SentenceEncoder::load(directory, device)?;
        Self::with_head(encoder, EMBEDDED_HEAD, Origin::Embedded("minilm-head.safetensors"), device)
    }

    /// Puts a head from a file, such as one just trained, on an encoder.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn with_head_file(
        encoder: SentenceEncoder,
        path: &Path,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let bytes = fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
        Self::with_head(encoder, &bytes, Origin::File(path.to_owned()), device)
    }

    fn with_head(
        encoder: SentenceEncoder,
        bytes: &[u8],
        origin: Origin,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let head = VarBuilder::from_slice_safetensors(bytes, DType::F32, device)
            .and_then(|weights| HeadNet::new(encoder.width(), weights))
            .map_err(|source| ModelError::Weights { origin, source })?;
        Ok(Self { encoder, head })
    }

    /// Judges the vectors of sentences, one line each as the encoder gives them.
    ///
    /// # Errors
    /// When the device fails.
    pub fn classify_vectors(&self, sentences: &Tensor) -> Result<Vec<Scores>, ModelError> {
        scores(&self.head.forward(sentences)?)
    }
}

impl SentimentModel for MiniLm {
    fn read(&self, text: &str) -> Result<Reading, ModelError> {
        self.encoder.tokens(text).map(Reading::Tokens)
    }

    fn classify(&self, texts: &[&Reading]) -> Result<Vec<Scores>, ModelError> {
        let tokens = texts.iter().map(|text| match text {
            Reading::Tokens(tokens) => Ok(tokens.as_slice()),
            Reading::Features(_) => Err(ModelError::OtherModel),
        });
        let tokens: Vec<&[u32]> = tokens.collect::<Result<_, _>>()?;
        self.classify_vectors(&self.encoder.encode(&tokens)?)
    }

    fn model_type(&self) -> &'static str {
        "minilm-sentiment"
    }

    fn version(&self) -> &str {
        VERSION
    }
}
