//! One answer of a language model: what is asked, and what comes.
use std::{pin::Pin, sync::Arc, time::Instant};

use futures_util::Stream;

use super::error::ModelError;

/// What [`TextModel::generate`](super::TextModel::generate) returns.
pub type Generating = Pin<Box<dyn Stream<Item = Result<Generated, ModelError>> + Send>>;

/// What to generate.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The tokens to continue: at least one, and fewer than the model's context length. Shared by the answers of one
    /// request with `n` above 1.
    pub prompt: Arc<[u32]>,
    /// How to choose tokens, and when to end.
    pub sampling: Sampling,
}

/// How tokens are chosen, and when an answer ends. All values are within the limits given here.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// From 0 to 2. 0 is greedy: the most likely token, always.
    pub temperature: f32,
    /// Over 0, at most 1: only the most likely tokens that have this much probability together. 1 is all.
    pub top_p: f32,
    /// Only so many of the most likely tokens, from 1. `None` is all.
    pub top_k: Option<usize>,
    /// Subtracted from a token's logit for each time that the answer has it: from -2 to 2, 0 is none.
    pub frequency_penalty: f32,
    /// Subtracted from a token's logit if the answer has it: from -2 to 2, 0 is none.
    pub presence_penalty: f32,
    /// Makes tokens that prompt or answer have less likely if over 1, more likely if under: over 0, 1 is none. Divides
    /// positive logits and multiplies negative ones.
    pub repetition_penalty: f32,
    /// The same seed, prompt and sampling give the same answer on the same machine. Without, each answer differs.
    pub seed: Option<u64>,
    /// Tokens to generate at most, from 1. Prompt and answer fit into the context together.
    pub max_tokens: usize,
    /// The answer ends before the first of these: at most four, none of them empty. No part of it is shown.
    pub stop: Vec<String>,
    /// Continue after the model's end-of-text token, up to `max_tokens`. Load generators ask for it.
    pub ignore_eos: bool,
    /// The log probability of each token, and this many of the most likely ones instead of it: 0 to 20. `None` is
    /// neither.
    pub logprobs: Option<usize>,
}

impl Sampling {
    /// Up to `max_tokens` tokens, by the defaults of OpenAI's API: temperature 1, all tokens, a new answer each time.
    pub fn new(max_tokens: usize) -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: None,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            repetition_penalty: 1.0,
            seed: None,
            max_tokens,
            stop: Vec::new(),
            ignore_eos: false,
            logprobs: None,
        }
    }

    /// Up to `max_tokens` tokens, the most likely one each time.
    pub fn greedy(max_tokens: usize) -> Self {
        Self { temperature: 0.0, ..Self::new(max_tokens) }
    }
}

/// An item of a generation.
#[derive(Clone, Debug, PartialEq)]
pub enum Generated {
    /// The model begins with it at this moment; until then it waited. A model that does not say so begins with its first
    /// piece.
    Begun(Instant),
    /// More text.
    Piece(Piece),
    /// The last item.
    End(End),
}

/// Text as it comes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Whole characters, without any part of a stop string. May be empty while text is held back.
    pub text: String,
    /// Tokens generated since the piece before.
    pub tokens: usize,
    /// When the last of them was generated, for metrics. `None`: when the piece is read.
    pub at: Option<Instant>,
    /// One for each of the tokens of `text`, if [`Sampling::logprobs`] asks for it. May come later than the tokens are
    /// counted, as the text does.
    pub logprobs: Vec<TokenLogProb>,
}

/// A token of the answer, with those that might have been instead of it.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogProb {
    /// The token that was chosen.
    pub chosen: LogProb,
    /// The most likely ones, the likeliest first: as many as [`Sampling::logprobs`] says.
    pub top: Vec<LogProb>,
}

/// A token and how likely it was.
#[derive(Clone, Debug, PartialEq)]
pub struct LogProb {
    /// The token's bytes. They are no text of their own if a character has several tokens.
    pub bytes: Vec<u8>,
    /// The natural logarithm of its probability, before temperature and `top_p`. At most 0.
    pub logprob: f32,
}

/// How a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Why no more text comes.
    pub finish_reason: FinishReason,
    /// What it took.
    pub usage: Usage,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FinishReason {
    /// The model's end-of-text token, or a stop string.
    Stop,
    /// [`Sampling::max_tokens`], or the end of the context.
    Length,
}

impl FinishReason {
    /// The name in OpenAI's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// Tokens of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Those of them that a cache knew already.
    pub cached_tokens: usize,
    /// Tokens of the answer, with the end-of-text token.
    pub completion_tokens: usize,
}
