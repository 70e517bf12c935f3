//! Language and embedding models for workers of Flash.
//!
//! A model is an [`Engine`]: it takes tokens of several sequences and returns logits. Around it, [`LanguageModel`] owns
//! what serving takes: one thread for the model, admission between tokens, memory, prefix reuse, sampling, text, chat
//! templates. It implements [`flash_openai::TextModel`], so OpenAI's API is served over it.
//!
//! `gguf` loads quantised models of the llama and Qwen families (feature `gguf`), `bert` loads encoders for embeddings
//! (feature `bert`). Without features, nothing here depends on candle.
#![warn(unreachable_pub)]

#[cfg(any(feature = "bert", feature = "gguf"))]
mod arithmetic;
#[cfg(feature = "bert")]
mod bert;
#[cfg(any(feature = "bert", feature = "gguf"))]
mod device;
#[cfg(any(feature = "bert", feature = "gguf"))]
mod device_error;
mod engine;
mod error;
#[cfg(feature = "gguf")]
mod gguf;
mod gpu_memory;
mod language;
#[cfg(any(test, feature = "bert", feature = "gguf"))]
mod memory;
mod sampling;
mod schedule;
mod text;

#[cfg(feature = "bert")]
pub use bert::{Encoder, EncoderOptions, Precision, bert, bert_with};
pub use engine::{Dimensions, Engine, EngineError, EngineErrorKind, Part};
pub use error::LoadError;
pub use flash_openai::EmbeddingModel;
#[cfg(feature = "gguf")]
pub use gguf::{GgufEngine, GgufSequence, Quantization, gguf, gguf_quantized, gguf_with};
pub use language::{LanguageModel, Options};
pub use text::{ChatTemplate, Vocabulary};
