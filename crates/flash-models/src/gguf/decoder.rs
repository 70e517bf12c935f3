//! The layers of a decoder, over the tokens of several sequences at once.
use std::io::{Read, Seek};

use candle_core::{Device, Module, Result, Tensor, quantized::gguf_file::Content};
use candle_nn::rotary_emb;
use candle_transformers::quantized_nn::RmsNorm;

use super::{
    attention::{Cache, attend, mask, rows},
    metadata::Shape,
    quantization::Quantization,
    weights::{Linear, Norm, Weights, silu_times},
};
use crate::arithmetic::Matrix;

/// The weights of a model. Sequences have what changes.
#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) shape: Shape,
    pub(super) vocabulary: usize,
    device: Device,
    embedding: Matrix,
    layers: Vec<Layer>,
    norm: Norm,
    output: Matrix,
    /// Radians per token of each pair of dimensions.
    frequencies: Vec<f32>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    queries_keys_values: Linear,
    attention_output: Linear,
    query_norm: Option<RmsNorm>,
    key_norm: Option<RmsNorm>,
    feed_forward_norm: Norm,
    gate_and_up: Linear,
    down: Linear,
}

/// Tokens of one sequence, within the rows of all.
pub(super) struct Span<'a> {
    pub(super) caches: &'a mut [Cache],
    /// Tokens before these.
    pub(super) past: usize,
    pub(super) tokens: &'a [u32],
    pub(super) wants_logits: bool,
}

/// What all layers need to know of the tokens of one call.
struct Positions {
    cos: Tensor,
    sin: Tensor,
    /// One for each sequence.
    masks: Vec<Option<Tensor>>,
}

impl Decoder {
    pub(super) fn load<R: Read + Seek>(
        content: &Content,
        shape: Shape,
        reader: &mut R,
        device: &Device,
        quantization: Quantization,
    ) -> Result<Self> {
        let mut weights = Weights { content, reader, device, quantization, epsilon: shape.epsilon };
        let embedding = weights.matrix("token_embd.weight")?;
        let output = match weights.has("output.weight") {
            true => weights.matrix("output.weight")?,
            false => embedding.clone(),
        };
        let layers =
            (0..shape.blocks).map(|block| Layer::load(&mut weights, block)).collect::<Result<_>>()?;
        Ok(Self {
            shape,
            vocabulary: embedding.outputs(),
            device: device.clone(),
            embedding,
            layers,
            norm: weights.norm("output_norm.weight")?,
            output,
            frequencies: frequencies(&mut weights, &shape)?,
        })
    }

    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    /// Feeds tokens, and returns a row of logits for each span that wants them.
    pub(super) fn forward(&self, spans: &mut [Span<'_>]) -> Result<Option<Tensor>> {
        let positions = self.positions(spans)?;
        let tokens: Vec<u32> = spans.iter().flat_map(|span| span.tokens).copied().collect();
        let mut x = self.embedding.rows(&tokens, &self.device)?;
        for (at, layer) in self.layers.iter().enumerate() {
            let attended =
                layer.attention(&layer.attention_norm.forward(&x)?, at, spans, &positions, &self.shape)?;
            x = (x + attended)?;
            x = (layer.feed_forward(&layer.feed_forward_norm.forward(&x)?)? + x)?;
        }
        let mut end = 0;
        let ends = spans.iter().filter_map(|span| {
            end += span.tokens.len() as u32;
            span.wants_logits.then(|| end - 1)
        });
        let ends: Vec<u32> = ends.collect();
        match ends.is_empty() {
            true => Ok(None),
            false => self.output.forward(&self.norm.forward(&rows(&x, &ends)?)?).map(Some),
        }
    }

    fn positions(&self, spans: &[Span<'_>]) -> Result<Positions> {
        let at = spans.iter().flat_map(|span| span.past..span.past + span.tokens.len());
        let angles: Vec<f32> =
            at.flat_map(|position| self.frequencies.iter().map(move |each| position as f32 * each)).collect();
        let rows = angles.len() / self.frequencies.len();
        let table = |of: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|angle| of(*angle)).collect();
            Tensor::from_vec(values, (rows, self.frequencies.len()), &self.device)
        };
        let masks = spans.iter().map(|span| mask(span.tokens.len(), span.past, &self.device));
        Ok(Positions { cos: table(f32::cos)?, sin: table(f32::sin)?, masks: masks.collect::<Result<_>>()? })
    }
}

impl Layer {
    fn load<R: Read + Seek>(weights: &mut Weights<'_, R>, block: usize) -> Result<Self> {
        let name = |part: &str| format!("blk.{block}.{part}");
        let queries_keys_values = weights.linear(&["attn_q", "attn_k", "attn_v"].map(name))?;
        let gate_and_up = weights.linear(&["ffn_gate", "ffn_up"].map(name))?;
        Ok(Self {
            attention_norm: weights.norm(&name("attn_norm.weight"))?,
            queries_keys_values,
            attention_output: weights.linear(&[name("attn_output")])?,
            query_norm: weights.norm_if(&name("attn_q_norm.weight"))?,
            key_norm: weights.norm_if(&name("attn_k_norm.weight"))?,
            feed_forward_norm: weights.norm(&name("ffn_norm.weight"))?,
            gate_and_up,
            down: weights.linear(&[name("ffn_down")])?,
        })
    }

    fn attention(
        &self,
        x: &Tensor,
        layer: usize,
        spans: &mut [Span<'_>],
        positions: &Positions,
        shape: &Shape,
    ) -> Result<Tensor> {
        let tokens = x.dim(0)?;
        let all = shape.heads + 2 * shape.kv_heads;
        let all = self.queries_keys_values.forward(x)?.reshape((tokens, all, shape.head))?;
        let all = all.transpose(0, 1)?.contiguous()?;
        let queries = normed(&self.query_norm, all.narrow(0, 0, shape.heads)?)?;
        let keys = normed(&self.key_norm, all.narrow(0, shape.heads, shape.kv_heads)?)?;
        let values = all.narrow(0, shape.heads + shape.kv_heads, shape.kv_heads)?;
        let rotate = |x: Tensor| {
            let x = x.unsqueeze(0)?;
            let rotated = match shape.family.pairs_neighbours() {
                true => rotary_emb::rope_i(&x, &positions.cos, &positions.sin),
                false => rotary_emb::rope(&x, &positions.cos, &positions.sin),
            };
            rotated?.squeeze(0)
        };
        let (queries, keys) = (rotate(queries)?, rotate(keys)?);
        let mut start = 0;
        let mut attended = Vec::with_capacity(spans.len());
        for (span, mask) in spans.iter_mut().zip(&positions.masks) {
            let count = span.tokens.len();
            let own = |x: &Tensor| x.narrow(1, start, count);
            let (queries, keys, values) = (own(&queries)?, own(&keys)?, own(&values)?);
            attended.push(attend(&mut span.caches[layer], &queries, &keys, &values, mask.as_ref())?);
            start += count;
        }
        self.attention_output.forward(&Tensor::cat(&attended, 0)?)
    }

    fn feed_forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = silu_times(&self.gate_and_up.forward(x)?)?;
        self.down.forward(&hidden)
    }
}

fn normed(norm: &Option<RmsNorm>, x: Tensor) -> Result<Tensor> {
    match norm {
        Some(norm) => norm.forward(&x.contiguous()?),
        None => Ok(x),
    }
}

/// How far each pair of dimensions rotates per token. Llama 3.1 and later stretch the slow ones.
fn frequencies<R: Read + Seek>(weights: &mut Weights<'_, R>, shape: &Shape) -> Result<Vec<f32>> {
    let each = |at: usize| 1.0 / shape.base.powf(at as f32 / shape.head as f32);
    let mut frequencies: Vec<f32> = (0..shape.head).step_by(2).map(each).collect();
    if weights.has("rope_freqs.weight") {
        let factors = weights.tensor("rope_freqs.weight")?.dequantize(&Device::Cpu)?.to_vec1::<f32>()?;
        for (frequency, factor) in frequencies.iter_mut().zip(factors) {
            *frequency /= factor;
        }
    }
    Ok(frequencies)
}
