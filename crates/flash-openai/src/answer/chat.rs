//! Chat: messages, and their changes in streams.
use serde_json::{Value, json};

use super::{Form, logprobs};
use crate::model::{FinishReason, TokenLogProb};

/// The form of `/v1/chat/completions`.
#[derive(Debug)]
pub(crate) struct Chat;

impl Form for Chat {
    const ID: &'static str = "chatcmpl-";
    const OBJECT: &'static str = "chat.completion";
    const CHUNK: &'static str = "chat.completion.chunk";

    type Choice = ();

    fn choice(index: usize, text: &str, logprobs: Option<&[TokenLogProb]>, end: FinishReason) -> Value {
        json!({
            "index": index,
            "message": { "role": "assistant", "content": text, "refusal": null },
            "logprobs": logprobs.map(logprobs::of_chat),
            "finish_reason": end.as_str()
        })
    }

    fn begin(index: usize) -> Option<Value> {
        Some(delta(index, &json!({ "role": "assistant", "content": "" }), None, None))
    }

    fn piece((): &mut (), index: usize, text: &str, logprobs: Option<&[TokenLogProb]>) -> Value {
        delta(index, &json!({ "content": text }), logprobs, None)
    }

    fn end(index: usize, reason: FinishReason) -> Value {
        delta(index, &json!({}), None, Some(reason))
    }
}

fn delta(index: usize, delta: &Value, logprobs: Option<&[TokenLogProb]>, end: Option<FinishReason>) -> Value {
    json!({
        "index": index,
        "delta": delta,
        "logprobs": logprobs.map(logprobs::of_chat),
        "finish_reason": end.map(FinishReason::as_str)
    })
}
