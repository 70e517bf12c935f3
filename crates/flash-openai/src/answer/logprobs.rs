//! Log probabilities, in the form of chat and in the older one of completions.
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::model::{LogProb, TokenLogProb};

/// JSON has no infinity; no probability is this low.
const LOWEST: f32 = -9999.0;

/// As chat has them: a list of tokens, each with its alternatives.
pub(super) fn of_chat(tokens: &[TokenLogProb]) -> Value {
    let entry = |token: &LogProb| json!({ "token": lossy(&token.bytes), "logprob": finite(token.logprob), "bytes": token.bytes });
    let content = tokens.iter().map(|token| {
        let mut written = entry(&token.chosen);
        written["top_logprobs"] = token.top.iter().map(entry).collect();
        written
    });
    json!({ "content": content.collect::<Vec<_>>(), "refusal": null })
}

/// As completions have them: lists side by side. `offset` is the number of characters before the first token, and
/// afterwards of those before the next.
pub(super) fn of_completion(tokens: &[TokenLogProb], offset: &mut usize) -> Value {
    let mut offsets = Vec::with_capacity(tokens.len());
    for token in tokens {
        offsets.push(*offset);
        *offset += characters(&token.chosen.bytes);
    }
    let top = tokens.iter().map(|token| {
        let named = token.top.iter().map(|other| (exact(&other.bytes), json!(finite(other.logprob))));
        Value::Object(named.collect::<Map<_, _>>())
    });
    json!({
        "tokens": tokens.iter().map(|token| exact(&token.chosen.bytes)).collect::<Vec<_>>(),
        "token_logprobs": tokens.iter().map(|token| finite(token.chosen.logprob)).collect::<Vec<_>>(),
        "top_logprobs": top.collect::<Vec<_>>(),
        "text_offset": offsets
    })
}

fn finite(logprob: f32) -> f32 {
    if logprob.is_nan() { LOWEST } else { logprob.clamp(LOWEST, 0.0) }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The characters that begin in these bytes.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte & 0b1100_0000 != 0b1000_0000).count()
}

/// A part of a character as OpenAI writes it: tokens that differ have texts that differ.
fn exact(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold("bytes:".to_owned(), |mut text, byte| {
            let _ = write!(text, "\\x{byte:02x}");
            text
        }),
    }
}
