//! Sentences to vectors by all-MiniLM-L6-v2, whose weights stay as they were published.
use std::{fs, path::Path};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{Encoding, PaddingParams, PaddingStrategy, Tokenizer, TruncationParams};

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

    /// One line for each text. Texts of about one length cost least: the shorter are padded.
    ///
    /// # Errors
    /// When the tokenizer or the device fails.
    pub fn encode(&self, texts: &[&str]) -> Result<Tensor, ModelError> {
        let encodings = self
            .tokenizer
            .encode_batch(texts.to_vec(), true)
            .map_err(|source| ModelError::Tokenize { source })?;
        let ids = self.matrix(&encodings, Encoding::get_ids)?;
        let mask = self.matrix(&encodings, Encoding::get_attention_mask)?;
        let tokens = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        Ok(mean_of_tokens(&tokens, &mask)?)
    }

    fn matrix(&self, encodings: &[Encoding], of: fn(&Encoding) -> &[u32]) -> candle_core::Result<Tensor> {
        let rows: Vec<&[u32]> = encodings.iter().map(of).collect();
        let columns = rows.first().map_or(0, |row| row.len());
        Tensor::from_vec(rows.concat(), (rows.len(), columns), &self.device)
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
    let padding = PaddingParams { strategy: PaddingStrategy::BatchLongest, ..PaddingParams::default() };
    let truncation = TruncationParams { max_length: LONGEST_INPUT, ..TruncationParams::default() };
    tokenizer.with_padding(Some(padding)).with_truncation(Some(truncation)).map_err(failed)?;
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
