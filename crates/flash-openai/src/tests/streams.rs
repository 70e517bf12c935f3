use std::sync::atomic::Ordering;

use axum::{body::Body, http::Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{Answer, model::Scripted, post};
use crate::{ModelError, Models};

const PATH: &str = "/v1/chat/completions";

fn request(fields: Value) -> Value {
    let mut request =
        json!({ "model": "talk", "messages": [{ "role": "user", "content": "hi" }], "stream": true });
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

async fn stream(fields: Value) -> Answer {
    let router = Models::new().text("talk", Scripted::says(&["Hel", "", "lo"])).router().unwrap();
    post(router, PATH, request(fields)).await
}

#[tokio::test]
async fn a_stream_has_the_role_the_text_the_reason_and_the_end() {
    let chunks = stream(json!({})).await.chunks();
    let deltas: Vec<_> = chunks.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect();
    let expected =
        json!([{ "role": "assistant", "content": "" }, { "content": "Hel" }, { "content": "lo" }, {}]);
    assert_eq!(json!(deltas), expected, "text that is held back makes no chunk");
    assert_eq!(chunks[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(chunks[2]["choices"][0]["finish_reason"], Value::Null);
    assert!(chunks.iter().all(|chunk| chunk["id"] == "chatcmpl-req-7" && chunk.get("usage").is_none()));
}

#[tokio::test]
async fn a_model_that_panics_is_a_failure_in_openais_shape_that_clients_do_not_repeat() {
    let router = || {
        let panics = Scripted::fails_after(&["Hel"], || panic!("a poisoned lock"));
        Models::new().text("talk", panics).router().unwrap()
    };
    for fields in [json!({}), json!({ "stream": false })] {
        let answer = post(router(), PATH, request(fields)).await;
        assert_eq!(answer.message(500, None), "the model panicked");
        assert_eq!(answer.should_retry.as_deref(), Some("false"));
    }
}

#[tokio::test]
async fn usage_is_in_the_last_chunk_or_in_each_if_the_client_asks() {
    let chunks = stream(json!({ "stream_options": { "include_usage": true } })).await.chunks();
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 4);
    assert!(others.iter().all(|chunk| chunk["usage"].is_null()));
    let always = json!({ "stream_options": { "include_usage": true, "continuous_usage_stats": true } });
    let chunks = stream(always).await.chunks();
    let counts: Vec<_> =
        chunks.iter().map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap()).collect();
    assert_eq!(counts, [0, 1, 3, 4, 4]);
}

#[tokio::test]
async fn choices_of_one_stream_are_told_apart_by_their_index() {
    let chunks = stream(json!({ "n": 2 })).await.chunks();
    let text = |index: u64| -> String {
        let own = chunks.iter().filter(|chunk| chunk["choices"][0]["index"] == index);
        own.filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
    };
    assert_eq!((text(0), text(1)), ("Hello".to_owned(), "Hello".to_owned()));
}

#[tokio::test]
async fn an_error_in_the_middle_is_the_last_event_and_there_is_no_done() {
    let model = Scripted::fails_after(&["Hel"], || ModelError::internal("out of memory"));
    let router = Models::new().text("talk", model).router().unwrap();
    let answer = post(router, PATH, request(json!({}))).await;
    assert_eq!(answer.status, 200);
    let last: Value = serde_json::from_str(answer.events().last().unwrap()).unwrap();
    assert_eq!(last["error"]["message"], "out of memory");
    assert_eq!(last["error"]["type"], "server_error");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_all_choices() {
    let model = Scripted::hangs_after(&["Hel"]);
    let router = Models::new().text("talk", model.clone()).router().unwrap();
    let body = request(json!({ "n": 2 })).to_string();
    let http = Request::post(PATH).body(Body::from(body)).unwrap();
    let mut response = router.oneshot(http).await.unwrap();
    let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"data: {"));
    assert_eq!(model.cancelled.load(Ordering::SeqCst), 0);
    drop(response);
    assert_eq!(model.cancelled.load(Ordering::SeqCst), 2);
}
