//! Quantised language models in GGUF files: the families llama, qwen2 and qwen3.
//!
//! candle's tensors and quantised matrices compute. The layers are put together here, because candle's models keep one
//! cache inside and take one position: here, linear layers take the tokens of all sequences at once, and each sequence
//! has its own cache.
mod attention;
mod decoder;
mod engine;
mod followed;
mod load;
mod metadata;
mod quantization;
mod tokenizer;
mod weights;

pub use engine::{GgufEngine, GgufSequence};
pub use load::{gguf, gguf_quantized, gguf_with};
pub use quantization::Quantization;
