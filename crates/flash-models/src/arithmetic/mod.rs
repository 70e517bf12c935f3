//! Arithmetic that models share: what candle computes in many small steps on a CPU is computed here in one.
//!
//! Matrices are candle's, but for eight bits where the processor has AVX-512 VNNI. The rest are loops that the compiler
//! makes vectors of, for vectors that the processor has when the program runs.
#![cfg_attr(
    not(all(feature = "bert", feature = "gguf")),
    allow(dead_code, unused_imports, reason = "some of it is only for encoders, and some only for decoders")
)]
mod activation;
mod attention;
#[cfg(target_arch = "x86_64")]
mod eight_bits;
mod exponential;
mod matrix;
mod norm;
mod rows;

pub(crate) use activation::{gelu, silu_times};
pub(crate) use attention::{Heads, attend};
pub(crate) use matrix::{Matrix, has_eight_bits};
pub(crate) use norm::{LayerNorm, RmsNorm};
pub(crate) use rows::{Work, each_row, read};
