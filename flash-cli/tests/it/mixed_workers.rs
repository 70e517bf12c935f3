//! The flagship example through the real binary: the four requests of its README, and what can go wrong.
use std::path::PathBuf;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{
    Client, Running, has_models, is_alive, root,
    schemathesis::{self, Takes},
};

fn example() -> PathBuf {
    root().join("examples/03_mixed_workers")
}

/// With the model that is in every checkout, whatever else this machine has.
fn with_shipped_model() -> Running {
    Running::start_with(&example(), &["--no-reload"], &[("SENTIMENT_MODEL", "ngram")])
}

/// The line in which the model's worker says what it has loaded.
fn loaded(app: &Running) -> String {
    let line = app.event("log", |line| {
        line["worker_type"] == "inference_worker" && line["text"].as_str().unwrap().contains(" loaded on ")
    });
    line["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_pipeline_answers_as_its_reference_says() {
    let app = with_shipped_model();
    let client = Client::new();
    let url = |path: &str| format!("{}{path}", app.url);

    let text = "This product is amazing! I love it!";
    let answer = client.post(url("/classify"), json!({ "text": text })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!((&body["status"], &body["text_preview"]), (&json!("success"), &json!(text)));
    assert_eq!(body["classification"]["label"], "positive");
    assert_eq!(body["classification"]["confidence_level"], "high");
    assert_eq!(body["all_predictions"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&body["metadata"]["word_count"], &body["metadata"]["sentence_count"]),
        (&json!(7), &json!(2))
    );
    assert_eq!(body["processing_pipeline"]["steps"], json!(["preprocess", "inference", "postprocess"]));
    assert_eq!(body["worker_type"], "CPU");
    // Each hop logs its cost under the same request.
    for worker in ["preprocess_worker", "inference_worker", "postprocess_worker"] {
        let line = app.event("log", |line| {
            line["worker_type"] == worker
                && line["request_id"] == answer.header("x-request-id")
                && line["stream"] == "system"
        });
        let text = line["text"].as_str().unwrap();
        assert!(text.contains("COMPLETED in") && text.contains(", $0.0"), "{text}");
    }

    let job = client.post(url("/cpu_worker/run_sync"), json!({ "text": "  Test \n message " })).await.json();
    let output = &job["output"];
    assert_eq!((&job["status"], &output["cleaned_text"]), (&json!("COMPLETED"), &json!("Test message")));
    assert_eq!((&output["original_text"], &output["char_count"]), (&json!("  Test \n message "), &json!(12)));
    for key in ["status", "word_count", "sentence_count", "timestamp", "worker_type"] {
        assert!(!output[key].is_null(), "{key}: {output}");
    }

    let input = json!({ "cleaned_text": "Test message", "word_count": 2 });
    let job = client.post(url("/gpu_worker/run_sync"), input).await.json();
    let output = &job["output"];
    let labels: Vec<&Value> =
        output["predictions"].as_array().unwrap().iter().map(|one| &one["label"]).collect();
    assert_eq!(labels, ["positive", "neutral", "negative"]);
    let parts = |one: &Value| one["confidence"].as_f64().unwrap() * 10_000.0;
    let sum: f64 = output["predictions"].as_array().unwrap().iter().map(parts).sum();
    assert_eq!(sum.round(), 10_000.0, "four decimals that sum to 1");
    // Built without CUDA here: it runs on the CPU and says so.
    assert_eq!(output["model_info"]["device"], "cpu");
    assert_eq!(output["model_info"]["model_type"], "hashed-ngram-classifier");
    assert_eq!(body["metadata"]["model"], "hashed-ngram-classifier");
    assert_eq!(output["model_info"]["gpu_name"], Value::Null);
    assert_eq!(output["input_stats"], json!({ "cleaned_text": "Test message", "word_count": 2 }));

    let docs = client.get(url("/docs")).await;
    assert!(docs.status == 200 && docs.text.contains("swagger-ui"), "{docs:?}");
}

#[tokio::test]
async fn the_pipeline_refuses_what_is_not_a_text() {
    let app = with_shipped_model();
    let client = Client::new();
    let url = format!("{}/classify", app.url);
    for (text, status) in
        [("ab".to_owned(), 422), ("é".repeat(3), 200), ("x".repeat(10_000), 200), ("x".repeat(10_001), 422)]
    {
        let answer = client.post(&url, json!({ "text": text })).await;
        assert_eq!(answer.status, status, "{} characters", text.chars().count());
    }
    for body in [json!({}), json!({ "text": 7 }), json!([]), json!(null)] {
        let answer = client.post(&url, body.clone()).await;
        assert_eq!(answer.status, 422, "{body}: {answer:?}");
        assert!(!answer.json()["fields"].as_array().unwrap().is_empty(), "{answer:?}");
    }
    assert_eq!(client.post_text(&url, "{").await.status, 400);
}

#[test]
fn made_up_requests_are_answered_as_its_api_description_says() {
    let app = with_shipped_model();
    schemathesis::demand_described_answers(&app, Takes::WhatItsFunctionsTake);
}

#[tokio::test]
async fn sixty_four_callers_share_the_pipeline_and_ctrl_c_ends_it() {
    let app = with_shipped_model();
    let client = Client::new();
    let url = format!("{}/classify", app.url);
    let texts = ["I love it so much!", "Terrible, it broke after one day and support never answered."];
    let caller = async |caller: usize| {
        for call in 0..4 {
            let which = (caller + call) % 2;
            let answer = client.post(&url, json!({ "text": texts[which] })).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let expected = ["positive", "negative"][which];
            assert_eq!(answer.json()["classification"]["label"], expected);
        }
    };
    join_all((0..64).map(caller)).await;
    let processes = app.descendants();
    app.signal(Signal::SIGINT);
    let status = tokio::task::spawn_blocking(move || app.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(!processes.iter().any(|id| is_alive(*id)), "left behind: {processes:?}");
}

#[tokio::test]
async fn a_model_that_cannot_be_loaded_is_said_to_the_caller() {
    let environment = [("SENTIMENT_MODEL", "no-such-model")];
    let app = Running::start_with(&example(), &["--no-reload"], &environment);
    let client = Client::new();
    let input = json!({ "cleaned_text": "Test message", "word_count": 2 });
    let answer = client.post(format!("{}/gpu_worker/run_sync", app.url), input).await;
    assert_eq!((answer.status, &answer.json()["kind"]), (503, &json!("no_worker")), "{answer:?}");
    assert!(answer.text.contains("SENTIMENT_MODEL is `no-such-model`"), "{answer:?}");
    let pipeline = client.post(format!("{}/classify", app.url), json!({ "text": "I love it" })).await;
    let stage = &pipeline.json()["stage"];
    assert_eq!(
        (pipeline.status, stage),
        (503, &json!("inference_worker/Sentiment::classify")),
        "{pipeline:?}"
    );
}

#[tokio::test]
async fn without_minilms_files_the_shipped_model_runs_and_says_why() {
    let empty = tempfile::tempdir().unwrap();
    let cache = empty.path().to_str().unwrap();
    // An empty name is none.
    let environment = [("SENTIMENT_MODEL", ""), ("MINILM_DIR", ""), ("HF_HUB_CACHE", cache)];
    let app = Running::start_with(&example(), &["--no-reload"], &environment);
    let text = "This product is amazing! I love it!";
    let answer = Client::new().post(format!("{}/classify", app.url), json!({ "text": text })).await;
    assert_eq!(answer.json()["metadata"]["model"], "hashed-ngram-classifier", "{answer:?}");
    let said = loaded(&app);
    assert!(
        said.contains("hashed-ngram-classifier 1.0.0 loaded on cpu: could not find all-MiniLM-L6-v2"),
        "{said}"
    );
    assert!(said.contains(cache) && said.contains("set MINILM_DIR"), "{said}");
}

#[tokio::test]
async fn a_directory_without_minilm_that_the_user_names_is_an_error_and_no_other_model() {
    let empty = tempfile::tempdir().unwrap();
    let named = empty.path().to_str().unwrap();
    let environment = [("SENTIMENT_MODEL", ""), ("MINILM_DIR", named)];
    let app = Running::start_with(&example(), &["--no-reload"], &environment);
    let input = json!({ "cleaned_text": "Test message", "word_count": 2 });
    let answer = Client::new().post(format!("{}/gpu_worker/run_sync", app.url), input).await;
    assert_eq!((answer.status, &answer.json()["kind"]), (503, &json!("no_worker")), "{answer:?}");
    assert!(answer.text.contains(&format!("could not find all-MiniLM-L6-v2 in `{named}`")), "{answer:?}");
}

#[tokio::test]
async fn where_minilms_files_are_it_is_the_model_and_callers_share_its_batches() {
    if !has_models(&["minilm"]) {
        return;
    }
    let directory = root().join("target/test-models/minilm");
    let environment = [("SENTIMENT_MODEL", ""), ("MINILM_DIR", directory.to_str().unwrap())];
    let app = Running::start_with(&example(), &["--no-reload"], &environment);
    let client = Client::new();
    let url = format!("{}/gpu_worker/run_sync", app.url);
    let texts = [("I love it so much!", 0), ("Worst purchase ever, a complete waste of money.", 2)];
    let caller = async |caller: usize| {
        let (text, expected) = texts[caller % 2];
        let answer = client.post(&url, json!({ "cleaned_text": text, "word_count": caller })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let output = &answer.json()["output"];
        assert_eq!(output["model_info"]["model_type"], "minilm-sentiment");
        assert_eq!(output["input_stats"], json!({ "cleaned_text": text, "word_count": caller }));
        assert!(output["predictions"][expected]["confidence"].as_f64().unwrap() > 0.5, "{text}: {output}");
    };
    join_all((0..64).map(caller)).await;
    let said = loaded(&app);
    assert!(said.contains(&format!("loaded on cpu: found in `{}`", directory.display())), "{said}");
    // One worker runs one batch at a time, so that others gather meanwhile.
    app.event("log", |line| {
        let text = line["text"].as_str().unwrap();
        let size = text.split_once("in a batch of ").and_then(|(_, rest)| rest.split_once(' '));
        size.and_then(|(size, _)| size.parse::<usize>().ok()).is_some_and(|size| size >= 8)
    });
}
