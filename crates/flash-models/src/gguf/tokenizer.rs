//! A tokenizer from the metadata of a GGUF file, for files that come without `tokenizer.json`.
use candle_core::quantized::gguf_file::{Content, Value};
use serde_json::json;
use tokenizers::Tokenizer;

use super::metadata::{list, number, switch, text};

/// llama.cpp's numbers for tokens that are written as they are, and not merged from others.
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// # Errors
///
/// What is missing or not supported.
pub(super) fn tokenizer(content: &Content) -> Result<Tokenizer, String> {
    let kind = text(content, "tokenizer.ggml.model").unwrap_or("none");
    if kind != "gpt2" {
        return Err(format!(
            "its tokenizer is of the kind `{kind}`, and only `gpt2` is read from GGUF files: put the model's \
             `tokenizer.json` beside it"
        ));
    }
    let written = |value| Value::to_string(value).ok().cloned();
    let tokens: Vec<String> =
        list(content, "tokenizer.ggml.tokens", written).ok_or("it has no tokens")?.collect();
    let merges: Vec<String> =
        list(content, "tokenizer.ggml.merges", written).ok_or("its tokenizer has no merges")?.collect();
    let kinds: Vec<i32> = list(content, "tokenizer.ggml.token_type", |value| value.to_i32().ok())
        .map(Iterator::collect)
        .unwrap_or_default();
    let split = split(text(content, "tokenizer.ggml.pre").unwrap_or("default"))?;
    let added: Vec<_> = tokens
        .iter()
        .zip(kinds)
        .enumerate()
        .filter(|(_, (_, kind))| [CONTROL, USER_DEFINED].contains(kind))
        .map(|(id, (token, kind))| {
            json!({"id": id, "content": token, "special": kind == CONTROL, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false})
        })
        .collect();
    let vocabulary: serde_json::Map<_, _> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
    let file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": split.pre_tokenizer,
        "post_processor": beginning(content, &tokens),
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "ignore_merges": split.ignores_merges,
            "vocab": vocabulary, "merges": merges},
    });
    serde_json::from_value(file).map_err(|error| format!("its tokenizer is damaged: {error}"))
}

/// How a text is cut before tokens are merged.
struct Split {
    pre_tokenizer: serde_json::Value,
    /// Pieces that are a token as a whole are not put together from merges.
    ignores_merges: bool,
}

/// By llama.cpp's name for it.
fn split(name: &str) -> Result<Split, String> {
    let bytes = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": regex});
    let pattern = |pattern: &str| {
        let cut =
            json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false});
        json!({"type": "Sequence", "pretokenizers": [cut, bytes(false)]})
    };
    let (pre_tokenizer, ignores_merges) = match name {
        "gpt-2" | "gpt2" | "default" => (bytes(true), false),
        "smollm" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            (json!({"type": "Sequence", "pretokenizers": [digits, bytes(true)]}), false)
        }
        "qwen2" => (pattern(QWEN2), false),
        "llama-bpe" | "llama3" => (pattern(LLAMA3), true),
        other => {
            return Err(format!(
                "its tokenizer cuts text by the rules of `{other}`, which are not known: put the model's \
                 `tokenizer.json` beside it"
            ));
        }
    };
    Ok(Split { pre_tokenizer, ignores_merges })
}

/// Adds the token for the beginning, if texts of this model have one.
fn beginning(content: &Content, tokens: &[String]) -> serde_json::Value {
    if switch(content, "tokenizer.ggml.add_bos_token") != Some(true) {
        return serde_json::Value::Null;
    }
    let id = number(content, "tokenizer.ggml.bos_token_id");
    let Some((id, token)) = id.and_then(|id| Some((id, tokens.get(id)?))) else {
        return serde_json::Value::Null;
    };
    let first = json!({"SpecialToken": {"id": token, "type_id": 0}});
    let text = |id: &str, number: u32| json!({"Sequence": {"id": id, "type_id": number}});
    json!({"type": "TemplateProcessing", "single": [first, text("A", 0)],
        "pair": [first, text("A", 0), text("B", 1)],
        "special_tokens": {token: {"id": token, "ids": [id], "tokens": [token]}}})
}
