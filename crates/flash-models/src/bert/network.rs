//! The model: token ids to one vector per text.
use std::path::Path;

use candle_core::{DType, Device, IndexOp, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

/// How the vectors of the tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    First,
}

/// A BERT with its pooling.
pub(super) struct Network {
    bert: BertModel,
    device: Device,
    pooling: Pooling,
}

impl Network {
    pub(super) fn load(weights: &Path, config: &Config, pooling: Pooling, device: Device) -> Result<Self> {
        // SAFETY: the file is mapped while it is read, so it must not change meanwhile. Model directories are written
        // once and then only read.
        let builder = unsafe { VarBuilder::from_mmaped_safetensors(&[weights], DType::F32, &device) }?;
        Ok(Self { bert: BertModel::load(builder, config)?, device, pooling })
    }

    /// A vector of length 1 for each text. No text is empty.
    pub(super) fn encode(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let matrix = |of: fn(&u32) -> u32| {
            let padded = texts
                .iter()
                .flat_map(|text| text.iter().map(of).chain(std::iter::repeat_n(0, longest - text.len())));
            Tensor::from_vec(padded.collect(), (texts.len(), longest), &self.device)
        };
        let (ids, mask) = (matrix(|id| *id)?, matrix(|_| 1)?);
        let tokens = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let pooled = match self.pooling {
            Pooling::Mean => {
                let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
                tokens.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?
            }
            Pooling::First => tokens.i((.., 0))?.contiguous()?,
        };
        pooled.broadcast_div(&pooled.sqr()?.sum_keepdim(1)?.sqrt()?)?.to_vec2()
    }
}
