//! A BERT on the CPU, over the tokens of all texts of a batch, one text after the other: nothing is padded.
use candle_core::{
    DType, Device, Result, Tensor,
    quantized::{GgmlDType, QTensor},
};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{Config, HiddenAct};

use crate::arithmetic::{Heads, LayerNorm, Matrix, Work, attend, each_row, gelu, read};

/// Weights.
pub(super) struct PackedBert {
    embeddings: Embeddings,
    layers: Vec<Layer>,
    /// Numbers of a token.
    hidden: usize,
}

struct Embeddings {
    /// A row for each token of the vocabulary.
    words: Vec<f32>,
    positions: Vec<f32>,
    /// Of the first sentence: there is no second.
    kind: Vec<f32>,
    norm: LayerNorm,
    hidden: usize,
}

struct Layer {
    heads: Heads,
    queries_keys_values: Matrix,
    queries_keys_values_bias: Vec<f32>,
    attention_output: Matrix,
    attention_norm: AddNorm,
    intermediate: Matrix,
    intermediate_bias: Vec<f32>,
    activation: HiddenAct,
    output: Matrix,
    output_norm: AddNorm,
}

/// Adds the result of a matrix and its bias to what was there, and normalises.
struct AddNorm {
    bias: Vec<f32>,
    norm: LayerNorm,
}

impl PackedBert {
    /// With matrices as `dtype`.
    pub(super) fn load(weights: &VarBuilder<'_>, config: &Config, dtype: GgmlDType) -> Result<Self> {
        let weights = match weights.contains_tensor("bert.embeddings.word_embeddings.weight") {
            true => weights.pp("bert"),
            false => weights.clone(),
        };
        let embeddings = Embeddings::load(&weights.pp("embeddings"), config)?;
        let layer = |at: usize| Layer::load(&weights.pp("encoder.layer").pp(at), config, dtype);
        let layers: Vec<Layer> = (0..config.num_hidden_layers).map(layer).collect::<Result<_>>()?;
        Ok(Self { embeddings, layers, hidden: config.hidden_size })
    }

    /// A row for each token.
    pub(super) fn forward(&self, texts: &[&[u32]]) -> Result<Vec<f32>> {
        let tokens: Vec<(usize, u32)> =
            texts.iter().flat_map(|text| text.iter().copied().enumerate()).collect();
        self.embeddings.check(&tokens)?;
        let mut values = vec![0.0; tokens.len() * self.hidden];
        each_row(&mut values, self.hidden, Embed { tokens: &tokens, embeddings: &self.embeddings });
        let mut x = Tensor::from_vec(values, (tokens.len(), self.hidden), &Device::Cpu)?;
        let exactly = rows_of_short(texts);
        for layer in &self.layers {
            x = layer.forward(&x, texts, &exactly)?;
        }
        read(&x, <[f32]>::to_vec)
    }

    /// Numbers of a row.
    pub(super) fn hidden(&self) -> usize {
        self.hidden
    }
}

/// Tokens of a text for which eight bits of inputs are too few: with few tokens, nothing evens out in the mean.
const SHORT: usize = 12;

/// The rows of texts whose inputs are taken exactly where eight bits lose most: before the attention and before the
/// activation.
fn rows_of_short(texts: &[&[u32]]) -> Vec<usize> {
    let mut end = 0;
    let rows = texts.iter().flat_map(|text| {
        let rows = end..end + text.len();
        end = rows.end;
        rows.take(if text.len() <= SHORT { SHORT } else { 0 })
    });
    rows.collect()
}

impl Embeddings {
    fn load(weights: &VarBuilder<'_>, config: &Config) -> Result<Self> {
        let hidden = config.hidden_size;
        let table = |name: &str, rows: usize| {
            weights.pp(name).get((rows, hidden), "weight")?.flatten_all()?.to_vec1::<f32>()
        };
        let mut kind = table("token_type_embeddings", config.type_vocab_size)?;
        kind.truncate(hidden);
        Ok(Self {
            words: table("word_embeddings", config.vocab_size)?,
            positions: table("position_embeddings", config.max_position_embeddings)?,
            kind,
            norm: layer_norm(&weights.pp("LayerNorm"), config)?,
            hidden,
        })
    }

    fn check(&self, tokens: &[(usize, u32)]) -> Result<()> {
        let (positions, words) = (self.positions.len() / self.hidden, self.words.len() / self.hidden);
        match tokens.iter().find(|(position, word)| *position >= positions || *word as usize >= words) {
            Some((position, word)) => {
                candle_core::bail!(
                    "token {word} at {position}, and it has {words} tokens and {positions} positions"
                )
            }
            None => Ok(()),
        }
    }
}

struct Embed<'a> {
    tokens: &'a [(usize, u32)],
    embeddings: &'a Embeddings,
}

impl Work for Embed<'_> {
    #[inline(always)]
    fn compute(&self, at: usize, row: &mut [f32]) {
        let Embeddings { words, positions, kind, norm, hidden } = self.embeddings;
        let (position, word) = self.tokens[at];
        let word = &words[word as usize * hidden..][..*hidden];
        let position = &positions[position * hidden..][..*hidden];
        for (((value, word), position), kind) in row.iter_mut().zip(word).zip(position).zip(kind) {
            *value = word + position + kind;
        }
        norm.apply(row);
    }
}

impl Layer {
    fn load(weights: &VarBuilder<'_>, config: &Config, dtype: GgmlDType) -> Result<Self> {
        let (hidden, between) = (config.hidden_size, config.intermediate_size);
        let matrix = |name: &str, outputs: usize, inputs: usize| {
            QTensor::quantize(&weights.pp(name).get((outputs, inputs), "weight")?, dtype)
        };
        let bias = |name: &str, outputs: usize| weights.pp(name).get(outputs, "bias");
        let names = ["attention.self.query", "attention.self.key", "attention.self.value"];
        let parts: Vec<QTensor> =
            names.iter().map(|name| matrix(name, hidden, hidden)).collect::<Result<_>>()?;
        let biases: Vec<Tensor> = names.iter().map(|name| bias(name, hidden)).collect::<Result<_>>()?;
        let add_norm = |name: &str| -> Result<AddNorm> {
            let bias = bias(&format!("{name}.dense"), hidden)?.to_vec1()?;
            Ok(AddNorm { bias, norm: layer_norm(&weights.pp(name).pp("LayerNorm"), config)? })
        };
        let one = |name: &str, outputs, inputs| Matrix::stack(&[matrix(name, outputs, inputs)?]);
        let count = config.num_attention_heads;
        Ok(Self {
            heads: Heads { count, size: hidden / count },
            queries_keys_values: Matrix::stack(&parts)?,
            queries_keys_values_bias: Tensor::cat(&biases, 0)?.to_vec1()?,
            attention_output: one("attention.output.dense", hidden, hidden)?,
            attention_norm: add_norm("attention.output")?,
            intermediate: one("intermediate.dense", between, hidden)?,
            intermediate_bias: bias("intermediate.dense", between)?.to_vec1()?,
            activation: config.hidden_act,
            output: one("output.dense", hidden, between)?,
            output_norm: add_norm("output")?,
        })
    }

    fn forward(&self, x: &Tensor, texts: &[&[u32]], exactly: &[usize]) -> Result<Tensor> {
        let shape = x.dims2()?;
        let rows = |values: Vec<f32>| Tensor::from_vec(values, shape, &Device::Cpu);
        let lengths = texts.iter().map(|text| text.len());
        let qkv = self.queries_keys_values.values(x, exactly)?;
        let bias = &self.queries_keys_values_bias;
        let seen = rows(attend(&qkv, bias, lengths, self.heads))?;
        let attended = self.attention_output.forward(&seen)?;
        let x = rows(self.attention_norm.forward(x, &attended)?)?;
        let between = self.activate(self.intermediate.values(&x, exactly)?)?;
        let output = self.output.forward(&between)?;
        rows(self.output_norm.forward(&x, &output)?)
    }

    fn activate(&self, mut values: Vec<f32>) -> Result<Tensor> {
        let bias = &self.intermediate_bias;
        let shape = (values.len() / bias.len(), bias.len());
        if self.activation == HiddenAct::Gelu {
            gelu(&mut values, bias);
            return Tensor::from_vec(values, shape, &Device::Cpu);
        }
        let x = Tensor::from_vec(values, shape, &Device::Cpu)?;
        let x = x.broadcast_add(&Tensor::new(&**bias, &Device::Cpu)?)?;
        match self.activation {
            HiddenAct::Gelu | HiddenAct::GeluApproximate => x.gelu(),
            HiddenAct::Relu => x.relu(),
        }
    }
}

impl AddNorm {
    fn forward(&self, x: &Tensor, added: &Tensor) -> Result<Vec<f32>> {
        read(x, |x| {
            read(added, |added| {
                let mut values = vec![0.0; x.len()];
                each_row(&mut values, self.bias.len(), Added { x, added, with: self });
                values
            })
        })?
    }
}

struct Added<'a> {
    x: &'a [f32],
    added: &'a [f32],
    with: &'a AddNorm,
}

impl Work for Added<'_> {
    #[inline(always)]
    fn compute(&self, at: usize, row: &mut [f32]) {
        let AddNorm { bias, norm } = self.with;
        let x = &self.x[at * row.len()..][..row.len()];
        let added = &self.added[at * row.len()..][..row.len()];
        for (((value, x), added), bias) in row.iter_mut().zip(x).zip(added).zip(bias) {
            *value = x + added + bias;
        }
        norm.apply(row);
    }
}

fn layer_norm(weights: &VarBuilder<'_>, config: &Config) -> Result<LayerNorm> {
    let read = |name: &str| weights.get(config.hidden_size, name)?.to_dtype(DType::F32)?.to_vec1::<f32>();
    Ok(LayerNorm { weight: read("weight")?, bias: read("bias")?, epsilon: config.layer_norm_eps as f32 })
}
