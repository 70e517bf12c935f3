//! OpenAI's API behind the gateway: the fixture's `spoken` and `echo`, whose models do as they are told.
use serde_json::{Value, json};

use crate::support::{Answer, Client, Running, fixture};

fn app() -> Running {
    Running::start(&fixture(), &["--no-reload"])
}

fn names(answer: &Answer) -> Vec<String> {
    let list = answer.json();
    list["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap().to_owned()).collect()
}

/// Which worker answered; empty if it was the platform.
fn worker(answer: &Answer) -> &str {
    answer.header("x-runpod-worker-id")
}

#[tokio::test]
async fn a_request_goes_to_the_worker_type_of_its_model_and_what_the_manifest_knows_wakes_none() {
    let (app, client) = (app(), Client::new());
    let url = |path: &str| format!("{}{path}", app.url);
    let all = client.get(url("/v1/models")).await;
    assert_eq!(
        (names(&all), worker(&all)),
        (["echo", "echo-latest", "parrot", "org/letters"].map(str::to_owned).to_vec(), "")
    );
    let of_one = client.get(url("/v2/spoken/openai/v1/models")).await;
    assert_eq!(names(&of_one), ["parrot", "org/letters"]);
    assert_eq!(client.get(url("/v1/models/org%2Fletters")).await.json()["id"], "org/letters");
    assert_eq!(client.get(url("/health")).await.status, 200);

    let ask = |path: &str, model: Value| {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "hello there" }] });
        client.post(url(path), body)
    };
    let chat = "/v1/chat/completions";
    let unknown = ask(chat, json!("gpt-5")).await;
    let error = unknown.json()["error"].clone();
    assert_eq!((unknown.status, worker(&unknown), &error["code"]), (404, "", &json!("model_not_found")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("`gpt-5`") && message.contains("parrot"), "{message}");
    let elsewhere = ask("/v2/spoken/openai/v1/chat/completions", json!("echo")).await;
    assert_eq!((elsewhere.status, worker(&elsewhere)), (404, ""), "{elsewhere:?}");
    for (wrong, param) in [(Value::Null, "model"), (json!(7), "model")] {
        let refused = ask(chat, wrong).await;
        assert_eq!((refused.status, &refused.json()["error"]["param"]), (400, &json!(param)), "{refused:?}");
    }
    let none = client.post(url("/v1/images"), json!({})).await;
    assert!(
        none.status == 404 && none.json()["error"]["message"].as_str().unwrap().contains("/v1/embeddings")
    );
    assert_eq!(client.get(url(chat)).await.status, 405);

    let job = json!({ "openai_route": chat, "openai_input": { "model": "parrot", "messages": [
        { "role": "user", "content": "as a job" }
    ] } });
    let job = client.post(url("/v2/asked/runsync"), json!({ "input": job })).await;
    assert_eq!(job.json()["output"][0]["choices"][0]["message"]["content"], "as a job", "{job:?}");

    for (path, model, worker_type) in [
        (chat, "parrot", "spoken-"),
        (chat, "echo-latest", "echoing-"),
        ("/v2/spoken/openai/v1/chat/completions", "parrot", "spoken-"),
    ] {
        let answer = ask(path, json!(model)).await;
        assert_eq!(answer.json()["choices"][0]["message"]["content"], "hello there", "{answer:?}");
        assert!(worker(&answer).starts_with(worker_type), "{answer:?}");
        assert!(!answer.header("x-flash-cost-nanodollars").is_empty(), "{answer:?}");
    }
}

// Two threads: the connection is closed while the test waits for an event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_streams_as_it_comes_and_a_client_that_leaves_stops_the_model() {
    let (app, client) = (app(), Client::new());
    let body =
        json!({ "model": "parrot", "messages": [{ "role": "user", "content": "hang" }], "stream": true });
    let request = client.raw().post(format!("{}/v1/chat/completions", app.url)).json(&body);
    let mut answer = request.header("x-request-id", "my-stream").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut seen = String::new();
    // The model says no more after this word: it is here although the answer has not ended.
    while !seen.contains("well") {
        seen.push_str(std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(seen.contains("chatcmpl-my-stream"), "{seen}");
    drop(answer);
    app.event("log", |line| line["text"] == "the parrot was interrupted");
}
