use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::{Answer, both, model::Lengths, post};
use crate::Models;

async fn embed(fields: Value) -> Answer {
    let mut request = json!({ "model": "vec" });
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    post(both(), "/v1/embeddings", request).await
}

#[tokio::test]
async fn each_text_has_its_vector_as_numbers_or_as_base64() {
    let answer = embed(json!({ "input": ["a", "bc"] })).await.json();
    assert_eq!(
        answer["data"][1],
        json!({ "object": "embedding", "index": 1, "embedding": [2.0, 4.0, 0.5, 0.0] })
    );
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("vec")));
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 3, "total_tokens": 3 }));
    let answer = embed(json!({ "input": "a", "encoding_format": "base64" })).await.json();
    let bytes = BASE64_STANDARD.decode(answer["data"][0]["embedding"].as_str().unwrap()).unwrap();
    assert_eq!(bytes[4..8], 4.0f32.to_le_bytes());
    assert_eq!(bytes.len(), 16);
}

#[tokio::test]
async fn a_vector_is_shortened_where_the_model_can() {
    let request = json!({ "model": "vec", "input": "abc", "dimensions": 2 });
    let router = Models::new().embedding("vec", Lengths::that_can_shorten()).router().unwrap();
    let answer = post(router, "/v1/embeddings", request.clone()).await.json();
    assert_eq!(answer["data"][0]["embedding"], json!([0.6, 0.8]), "3 and 4, scaled to length 1");
    let answer = post(both(), "/v1/embeddings", request).await;
    let message = "`dimensions` cannot be changed: vectors of this model have 4 numbers";
    assert_eq!(answer.message(400, Some("dimensions")), message);
    assert_eq!(embed(json!({ "input": "abc", "dimensions": 4, "encoding_format": null })).await.status, 200);
}

#[tokio::test]
async fn what_is_no_text_is_refused() {
    for (fields, param, words) in [
        (json!({ "input": [5, 6] }), Some("input"), "check_embedding_ctx_length=False"),
        (json!({ "input": [[5], [6]] }), Some("input"), "check_embedding_ctx_length=False"),
        (json!({ "input": [] }), Some("input"), "at least one"),
        (json!({ "input": ["a", ""] }), Some("input"), "text 1 of `input` is empty"),
        (json!({ "input": vec!["a"; 2049] }), Some("input"), "at most 2048"),
        (json!({ "input": { "a": 1 } }), Some("input"), "a text or a list of texts"),
        (json!({ "input": "a", "encoding_format": "int8" }), Some("encoding_format"), "unknown variant"),
        (json!({ "input": "x".repeat(51) }), None, "51 tokens"),
        (json!({ "input": "a", "model": "talk" }), Some("model"), "/v1/chat/completions"),
    ] {
        let message = embed(fields.clone()).await.message(400, param);
        assert!(message.contains(words), "{fields}: {message}");
    }
}
