//! Models that cannot be loaded: one line, the file, and what to do. No real model is needed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::{error::Error as _, fs, path::Path};

use flash_models::{LoadError, bert, gguf};
use serde_json::json;
use tempfile::TempDir;

/// A GGUF file without tensors, of a model of this family.
fn gguf_of(family: &str) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let version_and_counts = [&3_u32.to_le_bytes()[..], &0_u64.to_le_bytes(), &1_u64.to_le_bytes()].concat();
    let key = [text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text(family)].concat();
    [b"GGUF".to_vec(), version_and_counts, key].concat()
}

fn directory(files: &[(&str, &[u8])]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, content)| fs::write(directory.path().join(name), content).unwrap());
    directory
}

/// The error and its causes, which must be one line that names this directory.
fn said(error: &LoadError, place: &Path) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        said.push_str(": ");
        said.push_str(error.to_string().lines().next().unwrap_or_default());
        cause = error.source();
    }
    assert!(said.contains(&*place.to_string_lossy()) && !said.contains('\n'), "{said}");
    said
}

fn gguf_says(files: &[(&str, &[u8])]) -> String {
    let directory = directory(files);
    said(&gguf(directory.path()).unwrap_err(), directory.path())
}

fn bert_says(files: &[(&str, &[u8])]) -> String {
    let directory = directory(files);
    said(&bert(directory.path()).unwrap_err(), directory.path())
}

/// The files of a small encoder, with these weights.
fn encoder(weights: &[u8]) -> TempDir {
    let config = json!({
        "model_type": "bert", "vocab_size": 2, "hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": 4, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "max_position_embeddings": 8,
        "type_vocab_size": 2, "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": { "[UNK]": 0, "a": 1 }, "unk_token": "[UNK]" }
    });
    directory(&[
        ("config.json", config.to_string().as_bytes()),
        ("tokenizer.json", tokenizer.to_string().as_bytes()),
        ("model.safetensors", weights),
    ])
}

#[test]
fn a_model_of_another_kind_is_refused_with_what_loads_it() {
    let encoder = gguf_says(&[("config.json", b"{}"), ("model.safetensors", b"")]);
    assert!(
        encoder.contains("contains no GGUF file") && encoder.contains("`flash_models::bert`"),
        "{encoder}"
    );
    let other = gguf_says(&[("model.gguf", &gguf_of("bert"))]);
    assert!(other.contains("its architecture is `bert`; llama, qwen2 and qwen3 are supported"), "{other}");
    let decoder = bert_says(&[("model.gguf", &gguf_of("llama"))]);
    assert!(decoder.contains("`model.gguf`: load it with `flash_models::gguf`"), "{decoder}");
    let llama = bert_says(&[("config.json", br#"{"model_type": "llama"}"#), ("model.safetensors", b"")]);
    assert!(llama.contains("it is a `llama`, and `bert` is supported"), "{llama}");
}

#[test]
fn pickled_weights_are_not_read() {
    let pickled: [(&str, &[u8]); 2] = [("config.json", b"{}"), ("pytorch_model.bin", b"\x80")];
    let model = gguf_says(&pickled);
    assert!(model.contains("pickled weights (`pytorch_model.bin`)") && model.contains("GGUF"), "{model}");
    let directory = encoder(b"");
    fs::rename(directory.path().join("model.safetensors"), directory.path().join("pytorch_model.bin"))
        .unwrap();
    let said = said(&bert(directory.path()).unwrap_err(), directory.path());
    assert!(said.contains("no `model.safetensors`, but pickled weights"), "{said}");
}

#[test]
fn a_file_that_is_half_there_is_named_with_the_command_that_checks_it() {
    let whole = gguf_of("llama");
    let half = gguf_says(&[("model.gguf", &whole[..whole.len() / 2])]);
    assert!(half.contains("model.gguf") && half.contains("`flash models verify`"), "{half}");
    // The head says 1,000 bytes of JSON, and the file ends before.
    let directory = encoder(&[&1000_u64.to_le_bytes()[..], b"{"].concat());
    let half = said(&bert(directory.path()).unwrap_err(), directory.path());
    assert!(half.contains("model.safetensors") && half.contains("`flash models verify`"), "{half}");
    let missing = bert_says(&[("config.json", b"{}")]);
    assert!(missing.contains("config.json"), "{missing}");
}
