use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::model::Scripted;
use crate::Models;

async fn answer(route: &str, body: Option<Value>) -> Vec<Value> {
    let jobs = Models::new().text("talk", Scripted::says(&["Hel", "lo"])).jobs().unwrap();
    jobs.answer(route, body).collect().await
}

fn chat(stream: bool) -> Value {
    json!({ "model": "talk", "messages": [{ "role": "user", "content": "hi" }], "stream": stream })
}

#[tokio::test]
async fn a_job_is_answered_as_the_request_that_it_stands_for() {
    let answered = answer("/v1/chat/completions", Some(chat(false))).await;
    assert_eq!(answered.len(), 1);
    assert_eq!(answered[0]["choices"][0]["message"]["content"], "Hello");
    for body in [None, Some(Value::Null)] {
        assert_eq!(answer("/v1/models", body).await[0]["data"][0]["id"], "talk");
    }
    assert_eq!(
        answer("/v1/embeddings", Some(json!({ "model": "x", "input": "y" }))).await[0]["error"]["code"],
        "model_not_found"
    );
    for route in ["/v1/nothing", "no path at all", ""] {
        let answered = answer(route, None).await;
        assert!(answered[0]["error"]["message"].as_str().unwrap().starts_with("no route at"), "{answered:?}");
    }
}

#[tokio::test]
async fn events_of_a_stream_are_the_chunks_of_the_job_as_they_are() {
    let chunks = answer("/v1/chat/completions", Some(chat(true))).await;
    assert_eq!(chunks.len(), 5, "the role, two texts, the reason, the end");
    assert!(chunks[1].as_str().unwrap().starts_with("data: {"), "{chunks:?}");
    assert_eq!(chunks[4], "data: [DONE]\n\n");
}

#[tokio::test]
async fn a_job_that_is_dropped_cancels_its_generation() {
    let model = Scripted::hangs_after(&["Hel"]);
    let jobs = Models::new().text("talk", model.clone()).jobs().unwrap();
    let mut chunks = jobs.answer("/v1/chat/completions", Some(chat(true)));
    assert!(chunks.next().await.is_some());
    drop(chunks);
    assert_eq!(model.cancelled.load(Ordering::SeqCst), 1);
}
