//! Models with random weights, of the shapes of real ones.
use std::{
    collections::HashMap,
    error::Error,
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use candle_core::{
    Device, Result, Tensor,
    quantized::{
        GgmlDType, QTensor,
        gguf_file::{self, Value},
    },
};
use serde_json::{Map, json};

use crate::{Outcome, Place};

/// An encoder, a decoder to measure, and a small one.
pub(crate) const ENCODER: &str = "encoder";
pub(crate) const DECODER: &str = "decoder";
pub(crate) const SMALL: &str = "small";

/// What is made, and how much is asked of it.
pub(crate) struct Models {
    pub(crate) place: Place,
    encoder: EncoderShape,
    decoder: DecoderShape,
    /// Tokens of a text for the encoder.
    pub(crate) text: usize,
    /// Tokens of a prompt where memory is short.
    pub(crate) prompt: usize,
}

struct EncoderShape {
    hidden: usize,
    layers: usize,
    heads: usize,
    between: usize,
    positions: usize,
}

struct DecoderShape {
    hidden: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    between: usize,
}

/// Words of all models: `w0`, `w1` and so on.
pub(crate) const WORDS: usize = 8192;

const SMALL_DECODER: DecoderShape =
    DecoderShape { hidden: 64, layers: 2, heads: 4, kv_heads: 2, between: 128 };

impl Models {
    /// all-MiniLM-L6-v2 and Llama 3.2 3B with fewer words, or tiny ones.
    pub(crate) fn of(place: Place) -> Self {
        match place {
            Place::Gpu => Self {
                place,
                encoder: EncoderShape { hidden: 384, layers: 6, heads: 12, between: 1536, positions: 512 },
                decoder: DecoderShape { hidden: 3072, layers: 28, heads: 24, kv_heads: 8, between: 8192 },
                text: 128,
                prompt: 1000,
            },
            Place::Cpu => Self {
                place,
                encoder: EncoderShape { hidden: 64, layers: 2, heads: 2, between: 128, positions: 128 },
                decoder: DecoderShape { hidden: 128, layers: 4, heads: 4, kv_heads: 2, between: 256 },
                text: 16,
                prompt: 40,
            },
        }
    }

    /// Writes all of them below a directory.
    pub(crate) fn make(&self, directory: &Path) -> Outcome {
        let encoder = directory.join(ENCODER);
        self.encoder.make(&encoder)?;
        self.decoder.make(&directory.join(DECODER))?;
        SMALL_DECODER.make(&directory.join(SMALL))?;
        let mib = |path: &Path| fs::metadata(path).map(|file| file.len() >> 20);
        Ok(format!(
            "encoder {} MiB, decoder {} MiB in Q8_0",
            mib(&encoder.join("model.safetensors"))?,
            mib(&directory.join(DECODER).join("model.gguf"))?
        ))
    }
}

/// With a spread that keeps the size of what goes through a layer.
fn random(outputs: usize, inputs: usize) -> Result<Tensor> {
    Tensor::randn(0_f32, 1.0 / (inputs as f32).sqrt(), (outputs, inputs), &Device::Cpu)
}

impl EncoderShape {
    fn make(&self, directory: &Path) -> std::result::Result<(), Box<dyn Error + Send + Sync>> {
        fs::create_dir_all(directory)?;
        let Self { hidden, layers, heads, between, positions } = *self;
        let config = json!({
            "model_type": "bert", "vocab_size": WORDS, "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": between, "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0, "max_position_embeddings": positions, "type_vocab_size": 2,
            "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        });
        fs::write(directory.join("config.json"), config.to_string())?;
        fs::write(directory.join("tokenizer.json"), tokenizer())?;
        candle_core::safetensors::save(&self.tensors()?, directory.join("model.safetensors"))?;
        Ok(())
    }

    fn tensors(&self) -> Result<HashMap<String, Tensor>> {
        let Self { hidden, layers, between, positions, .. } = *self;
        let mut tensors = HashMap::new();
        let mut add = |name: String, outputs: usize, inputs: usize| -> Result<()> {
            tensors.insert(format!("{name}.weight"), random(outputs, inputs)?);
            tensors.insert(format!("{name}.bias"), random(1, outputs)?.squeeze(0)?);
            Ok(())
        };
        let mut norms = vec!["embeddings.LayerNorm".to_owned()];
        for layer in 0..layers {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            for part in [
                "attention.self.query",
                "attention.self.key",
                "attention.self.value",
                "attention.output.dense",
            ] {
                add(name(part), hidden, hidden)?;
            }
            add(name("intermediate.dense"), between, hidden)?;
            add(name("output.dense"), hidden, between)?;
            norms.extend([name("attention.output.LayerNorm"), name("output.LayerNorm")]);
        }
        for norm in norms {
            tensors.insert(
                format!("{norm}.weight"),
                Tensor::ones(hidden, candle_core::DType::F32, &Device::Cpu)?,
            );
            tensors.insert(
                format!("{norm}.bias"),
                Tensor::zeros(hidden, candle_core::DType::F32, &Device::Cpu)?,
            );
        }
        for (name, rows) in [("word", WORDS), ("position", positions), ("token_type", 2)] {
            tensors.insert(format!("embeddings.{name}_embeddings.weight"), random(rows, hidden)?);
        }
        Ok(tensors)
    }
}

impl DecoderShape {
    /// All layers have the weights of one: making them takes longer than all checks, and reading them is the same.
    fn make(&self, directory: &Path) -> std::result::Result<(), Box<dyn Error + Send + Sync>> {
        fs::create_dir_all(directory)?;
        fs::write(directory.join("tokenizer.json"), tokenizer())?;
        let Self { hidden, layers, heads, kv_heads, between } = *self;
        let kv = hidden / heads * kv_heads;
        let matrix = |outputs, inputs| QTensor::quantize(&random(outputs, inputs)?, GgmlDType::Q8_0);
        let norm =
            QTensor::quantize(&Tensor::ones(hidden, candle_core::DType::F32, &Device::Cpu)?, GgmlDType::F32)?;
        let parts = [
            ("attn_q", matrix(hidden, hidden)?),
            ("attn_k", matrix(kv, hidden)?),
            ("attn_v", matrix(kv, hidden)?),
            ("attn_output", matrix(hidden, hidden)?),
            ("ffn_gate", matrix(between, hidden)?),
            ("ffn_up", matrix(between, hidden)?),
            ("ffn_down", matrix(hidden, between)?),
        ];
        let words = matrix(WORDS, hidden)?;
        let mut tensors =
            vec![("token_embd.weight".to_owned(), &words), ("output_norm.weight".to_owned(), &norm)];
        for layer in 0..layers {
            let named = parts.iter().map(|(name, matrix)| (format!("blk.{layer}.{name}.weight"), matrix));
            tensors.extend(named);
            tensors
                .extend(["attn_norm", "ffn_norm"].map(|name| (format!("blk.{layer}.{name}.weight"), &norm)));
        }
        let tensors: Vec<(&str, &QTensor)> =
            tensors.iter().map(|(name, tensor)| (name.as_str(), *tensor)).collect();
        let number = |number: usize| u32::try_from(number).map(Value::U32);
        let metadata = [
            ("general.architecture", Value::String("llama".to_owned())),
            ("llama.block_count", number(layers)?),
            ("llama.embedding_length", number(hidden)?),
            ("llama.attention.head_count", number(heads)?),
            ("llama.attention.head_count_kv", number(kv_heads)?),
            ("llama.context_length", Value::U32(4096)),
        ];
        let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(name, value)| (*name, value)).collect();
        let mut file = BufWriter::new(File::create(directory.join("model.gguf"))?);
        gguf_file::write(&mut file, &metadata, &tensors)?;
        Ok(())
    }
}

fn tokenizer() -> String {
    let words: Map<_, _> = (0..WORDS).map(|word| (format!("w{word}"), json!(word))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "w0"},
    });
    tokenizer.to_string()
}
