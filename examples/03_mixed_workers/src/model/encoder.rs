//! Sentences to vectors by all-MiniLM-L6-v2, whose weights stay as they were published.
use std::{fs, path::Path};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{Tokenizer, TruncationParams};

use super::{
    ModelError, Origin,
    minilm_files::{CONFIG, TOKENIZER, WEIGHTS},
};

/// What the published model was tuned for; of a longer text the beginning counts.
const LONGEST_INPUT: usize = 256;

/// A frozen BERT with mean pooling: texts of one meaning get neighbouring vectors of length 1.
pub struct SentenceEncoder {
    bert: BertModel,
    tokenizer: Tokenizer,
    device: Device,
    width: usize,
}

impl SentenceEncoder {
    /// Loads `model.safetensors`, `tokenizer.json` and `config.json` from a directory.
    ///
    /// # Errors
    /// When a file is missing, damaged or of another model.
    pub fn load(directory: &Path, device: &Device) -> Result<Self, ModelError> {
        let config = read_config(&directory.join(CONFIG))?;
        let tokenizer = read_tokenizer(&directory.join(TOKENIZER))?;
        let bert = read_weights(&directory.join(WEIGHTS), &config, device)?;
        Ok(Self { bert, tokenizer, device: device.clone(), width: config.hidden_size })
    }

    /// The length of a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The tokens of a text; of a long one the first 256.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn tokens(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding =
            self.tokenizer.encode_fast(text, true).map_err(|source| ModelError::Tokenize { source })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// One line for each text, in one pass. Texts of about one length cost least: the shorter are padded.
    ///
    /// # Errors
    /// When the device fails.
    pub fn encode(&self, texts: &[&[u32]]) -> Result<Tensor, ModelError> {
        let longest = texts.iter().map(|tokens| tokens.len()).max().unwrap_or(0);
        let ids = self.padded(texts, longest, |token| token)?;
        let mask = self.padded(texts, longest, |_| 1)?;
        let tokens = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        Ok(mean_of_tokens(&tokens, &mask)?)
    }

    /// A line for each text, with zeros up to the longest: the padding token's ID, and nothing in a mask.
    fn padded(&self, texts: &[&[u32]], longest: usize, of: fn(u32) -> u32) -> candle_core::Result<Tensor> {
        let mut lines = vec![0; texts.len() * longest];
        for (line, tokens) in lines.chunks_exact_mut(longest.max(1)).zip(texts) {
            line.iter_mut().zip(*tokens).for_each(|(value, token)| *value = of(*token));
        }
        Tensor::from_vec(lines, (texts.len(), longest), &self.device)
    }
}

/// The mean over the tokens that are text and not padding, scaled to length 1.
fn mean_of_tokens(tokens: &Tensor, mask: &Tensor) -> candle_core::Result<Tensor> {
    let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
    let mean = tokens.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?;
    mean.broadcast_div(&mean.sqr()?.sum_keepdim(1)?.sqrt()?)
}

fn read_config(path: &Path) -> Result<Config, ModelError> {
    let text = fs::read(path).map_err(|source| ModelError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&text).map_err(|source| ModelError::Config { path: path.to_owned(), source })
}

fn read_tokenizer(path: &Path) -> Result<Tokenizer, ModelError> {
    let failed = |source| ModelError::Tokenizer { path: path.to_owned(), source };
    let mut tokenizer = Tokenizer::from_file(path).map_err(failed)?;
    // The published file pads every text to 128 tokens, which costs more than reading most of them.
    tokenizer.with_padding(None);
    let truncation = TruncationParams { max_length: LONGEST_INPUT, ..TruncationParams::default() };
    tokenizer.with_truncation(Some(truncation)).map_err(failed)?;
    Ok(tokenizer)
}

fn read_weights(path: &Path, config: &Config, device: &Device) -> Result<BertModel, ModelError> {
    // SAFETY: the file is mapped, not copied, so it must not change while the model lives. Model
    // directories and the Hugging Face cache are written once and then only read.
    let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[path], DType::F32, device) };
    weights
        .and_then(|weights| BertModel::load(weights, config))
        .map_err(|source| ModelError::Weights { origin: Origin::File(path.to_owned()), source })
}
