//! Limits of a language model that is served.

/// How much a model does at once. [`Options::default`] suits a small model on a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Answers that are generated at the same time, from 1. 16 by default.
    pub running: usize,
    /// Requests that wait for one of them. More are refused with 503. 256 by default.
    pub waiting: usize,
    /// Bytes of the sequences' keys and values, prefixes of prompts included. A request starts when its prompt and the
    /// beginning of its answer have room; if answers then need more than there is, the latest makes way and is computed again
    /// later. 2 GiB by default. A context longer than this is shortened to it.
    pub cache_bytes: usize,
    /// Tokens of a prompt that are computed at once, from 1. Other answers wait for so many between two of their tokens.
    /// 32 by default.
    pub prompt_chunk: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { running: 16, waiting: 256, cache_bytes: 2 << 30, prompt_chunk: 32 }
    }
}
