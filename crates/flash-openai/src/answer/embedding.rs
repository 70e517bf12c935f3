//! Embeddings.
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{model::Embedding, request::Encoding};

/// The answer of `/v1/embeddings`.
#[derive(Serialize)]
pub(crate) struct Embeddings<'a> {
    object: &'static str,
    data: Vec<Entry<'a>>,
    model: &'a str,
    usage: Value,
}

#[derive(Serialize)]
struct Entry<'a> {
    object: &'static str,
    index: usize,
    embedding: Vector<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Vector<'a> {
    Float(&'a [f32]),
    Base64(String),
}

pub(crate) fn embeddings<'a>(model: &'a str, all: &'a [Embedding], encoding: Encoding) -> Embeddings<'a> {
    let tokens: usize = all.iter().map(|embedding| embedding.tokens).sum();
    let entry = |(index, embedding): (usize, &'a Embedding)| Entry {
        object: "embedding",
        index,
        embedding: match encoding {
            Encoding::Float => Vector::Float(&embedding.vector),
            Encoding::Base64 => Vector::Base64(base64(&embedding.vector)),
        },
    };
    Embeddings {
        object: "list",
        data: all.iter().enumerate().map(entry).collect(),
        model,
        usage: json!({ "prompt_tokens": tokens, "total_tokens": tokens }),
    }
}

fn base64(vector: &[f32]) -> String {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes)
}

/// The first numbers of a vector, scaled to length 1.
pub(crate) fn shortened(mut vector: Vec<f32>, dimensions: usize) -> Vec<f32> {
    if dimensions >= vector.len() {
        return vector;
    }
    vector.truncate(dimensions);
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|number| *number /= length);
    }
    vector
}
