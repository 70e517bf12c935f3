//! Answers as clients read them: JSON bodies, chunks of streams, log probabilities. Pure: values in, JSON out.
mod chat;
mod completion;
mod embedding;
mod heading;
mod logprobs;
mod usage;

pub(crate) use chat::Chat;
pub(crate) use completion::Completion;
pub(crate) use embedding::{embeddings, shortened};
pub(crate) use heading::Heading;
pub(crate) use usage::Totals;

use serde_json::Value;

use crate::model::{FinishReason, TokenLogProb};

/// One of the two forms that generated text has in answers.
pub(crate) trait Form {
    /// What ids of its answers begin with.
    const ID: &'static str;
    /// `object` of an answer in one piece.
    const OBJECT: &'static str;
    /// `object` of a chunk.
    const CHUNK: &'static str;

    /// What keeps track of one choice while its chunks are written.
    type Choice: Default;

    /// A choice of an answer in one piece.
    fn choice(index: usize, text: &str, logprobs: Option<&[TokenLogProb]>, end: FinishReason) -> Value;

    /// The choice of the chunk before the first text, if there is one.
    fn begin(index: usize) -> Option<Value>;

    /// The choice of a chunk with text.
    fn piece(choice: &mut Self::Choice, index: usize, text: &str, logprobs: Option<&[TokenLogProb]>)
    -> Value;

    /// The choice of the last chunk.
    fn end(index: usize, reason: FinishReason) -> Value;
}
