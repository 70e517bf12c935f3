//! The model: token ids to one vector per text.
use std::path::Path;

use candle_core::{DType, Device, IndexOp, Result, Tensor, quantized::GgmlDType};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};

use super::packed::PackedBert;
use crate::arithmetic::has_eight_bits;

/// How the vectors of the tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// Their mean.
    Mean,
    /// That of the first token.
    First,
}

/// How the matrices of an encoder are stored and multiplied on a CPU. A GPU always has 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Eight bits a weight, in blocks with a scale, where the processor has AVX-512 VNNI; else 32. Vectors of
    /// all-MiniLM-L6-v2 keep a cosine over 0.999 to those of 32 bits.
    #[default]
    EightBits,
    /// 32 bits, as in the file.
    F32,
}

/// A BERT with its pooling.
pub(super) struct Network {
    bert: Bert,
    pooling: Pooling,
}

enum Bert {
    Cpu(PackedBert),
    /// candle's own, which pads all texts of a batch to the longest.
    Gpu(BertModel, Device),
}

impl Network {
    pub(super) fn load(
        weights: &Path,
        config: &Config,
        pooling: Pooling,
        device: Device,
        precision: Precision,
    ) -> Result<Self> {
        // SAFETY: the file is mapped while it is read, so it must not change meanwhile. Model directories are written
        // once and then only read.
        let builder = unsafe { VarBuilder::from_mmaped_safetensors(&[weights], DType::F32, &device) }?;
        let whole_blocks = |size: usize| size.is_multiple_of(GgmlDType::Q8_0.block_size());
        let dtype = match precision {
            Precision::EightBits
                if has_eight_bits()
                    && whole_blocks(config.hidden_size)
                    && whole_blocks(config.intermediate_size) =>
            {
                GgmlDType::Q8_0
            }
            _ => GgmlDType::F32,
        };
        let bert = match device.is_cpu() {
            true => Bert::Cpu(PackedBert::load(&builder, config, dtype)?),
            false => Bert::Gpu(BertModel::load(builder, config)?, device),
        };
        Ok(Self { bert, pooling })
    }

    /// A vector of length 1 for each text. No text is empty.
    pub(super) fn encode(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        match &self.bert {
            Bert::Cpu(bert) => {
                let rows = bert.forward(texts)?;
                let hidden = bert.hidden();
                let mut rows = rows.chunks_exact(hidden);
                let pooled = texts.iter().map(|text| {
                    let rows = rows.by_ref().take(text.len());
                    self.pooling.pool(rows, hidden)
                });
                Ok(pooled.collect())
            }
            Bert::Gpu(bert, device) => self.encode_padded(bert, device, texts),
        }
    }

    fn encode_padded(&self, bert: &BertModel, device: &Device, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let matrix = |of: fn(&u32) -> u32| {
            let padded = texts
                .iter()
                .flat_map(|text| text.iter().map(of).chain(std::iter::repeat_n(0, longest - text.len())));
            Tensor::from_vec(padded.collect(), (texts.len(), longest), device)
        };
        let (ids, mask) = (matrix(|id| *id)?, matrix(|_| 1)?);
        let tokens = bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
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

impl Pooling {
    /// The vector of a text, of length 1. A mean and a sum have the same direction.
    fn pool<'a>(self, mut rows: impl Iterator<Item = &'a [f32]>, hidden: usize) -> Vec<f32> {
        let mut pooled = vec![0.0; hidden];
        let count = match self {
            Self::Mean => usize::MAX,
            Self::First => 1,
        };
        // All rows are taken, so that the next text begins with its own.
        for row in rows.by_ref().take(count) {
            pooled.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        rows.for_each(drop);
        let length = pooled.iter().map(|value| value * value).sum::<f32>().sqrt();
        pooled.iter_mut().for_each(|value| *value /= length);
        pooled
    }
}
