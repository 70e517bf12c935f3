//! From a directory to an encoder that serves.
use std::{
    fs,
    path::{Path, PathBuf},
};

use candle_transformers::models::bert::Config;
use serde::{Deserialize, de::DeserializeOwned};
use tokenizers::Tokenizer;

use super::{
    encoder::{Encoder, EncoderOptions},
    network::{Network, Pooling},
};
use crate::{
    device::device,
    error::{Format, LoadError},
    memory,
};

/// Serves the encoder in a directory with [`EncoderOptions::default`]: a BERT such as all-MiniLM-L6-v2, in the files of
/// Hugging Face: `model.safetensors`, `config.json`, `tokenizer.json`, and if they are there `sentence_bert_config.json`
/// (the longest text) and `1_Pooling/config.json`. Vectors have length 1.
///
/// # Errors
///
/// If a file is missing, damaged, of a kind that is not supported, or larger than the memory that is left.
pub fn bert(directory: impl AsRef<Path>) -> Result<Encoder, LoadError> {
    bert_with(directory, EncoderOptions::default())
}

/// As [`bert`], with limits of your own.
///
/// # Errors
///
/// If a file is missing, damaged, or of a kind that is not supported.
pub fn bert_with(directory: impl AsRef<Path>, options: EncoderOptions) -> Result<Encoder, LoadError> {
    let directory = directory.as_ref();
    let there = |name: &str| Some(directory.join(name)).filter(|path| path.is_file());
    let missing = |wanted| LoadError::missing(directory, wanted, Format::Safetensors);
    let config_path = there("config.json").ok_or_else(|| missing("`config.json`"))?;
    let kind: Kind = read(&config_path)?;
    if kind.model_type.as_deref().is_some_and(|kind| kind != "bert") {
        let reason = format!("it is a `{}`, and `bert` is supported", kind.model_type.unwrap_or_default());
        return Err(LoadError::Unsupported { path: config_path, reason });
    }
    let config: Config = read(&config_path)?;
    let tokenizer = tokenizer(&there("tokenizer.json").ok_or_else(|| missing("`tokenizer.json`"))?)?;
    let weights = there("model.safetensors").ok_or_else(|| missing("`model.safetensors`"))?;
    let longest = match there("sentence_bert_config.json") {
        Some(path) => read::<SentenceConfig>(&path)?.max_seq_length,
        None => None,
    };
    let longest = longest.unwrap_or(usize::MAX).min(config.max_position_embeddings);
    let pooling = match there("1_Pooling/config.json") {
        Some(path) => read::<PoolingConfig>(&path)?.pooling(&path)?,
        None => Pooling::Mean,
    };
    let device = device();
    if device.is_cpu() {
        memory::check(&weights)?;
    }
    flash_openai::report_loading("loading model.safetensors");
    let network = Network::load(&weights, &config, pooling, device, options.precision)
        .map_err(|source| LoadError::damaged(weights, source))?;
    Encoder::serve(network, tokenizer, longest, config.hidden_size, options)
}

/// Without padding and truncation: a batch pads to its longest text, and a text that is too long is refused.
fn tokenizer(path: &PathBuf) -> Result<Tokenizer, LoadError> {
    let mut tokenizer = Tokenizer::from_file(path).map_err(|source| LoadError::damaged(path, source))?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|source| LoadError::damaged(path, source))?;
    Ok(tokenizer)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
    let bytes = fs::read(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| LoadError::damaged(path, source))
}

#[derive(Deserialize)]
struct Kind {
    model_type: Option<String>,
}

#[derive(Deserialize)]
struct SentenceConfig {
    max_seq_length: Option<usize>,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct PoolingConfig {
    pooling_mode_mean_tokens: bool,
    pooling_mode_cls_token: bool,
}

impl PoolingConfig {
    fn pooling(&self, path: &Path) -> Result<Pooling, LoadError> {
        match (self.pooling_mode_mean_tokens, self.pooling_mode_cls_token) {
            (true, false) => Ok(Pooling::Mean),
            (false, true) => Ok(Pooling::First),
            _ => Err(LoadError::Unsupported {
                path: path.to_owned(),
                reason: "its pooling is neither the mean of all tokens nor the first token".to_owned(),
            }),
        }
    }
}
