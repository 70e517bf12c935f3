//! Completions: plain text.
use serde_json::{Value, json};

use super::{Form, logprobs};
use crate::model::{FinishReason, TokenLogProb};

/// The form of `/v1/completions`.
#[derive(Debug)]
pub(crate) struct Completion;

impl Form for Completion {
    const ID: &'static str = "cmpl-";
    const OBJECT: &'static str = "text_completion";
    const CHUNK: &'static str = "text_completion";

    /// Characters before the next token.
    type Choice = usize;

    fn choice(index: usize, text: &str, logprobs: Option<&[TokenLogProb]>, end: FinishReason) -> Value {
        let logprobs = logprobs.map(|tokens| logprobs::of_completion(tokens, &mut 0));
        choice(index, text, logprobs, Some(end))
    }

    fn begin(_: usize) -> Option<Value> {
        None
    }

    fn piece(offset: &mut usize, index: usize, text: &str, logprobs: Option<&[TokenLogProb]>) -> Value {
        let logprobs = logprobs.map(|tokens| logprobs::of_completion(tokens, offset));
        choice(index, text, logprobs, None)
    }

    fn end(index: usize, reason: FinishReason) -> Value {
        choice(index, "", None, Some(reason))
    }
}

fn choice(index: usize, text: &str, logprobs: Option<Value>, end: Option<FinishReason>) -> Value {
    json!({
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": end.map(FinishReason::as_str)
    })
}
