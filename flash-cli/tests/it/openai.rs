//! OpenAI's API behind the gateway: the fixture's `spoken` and `echo`, whose models do as they are told.
use serde_json::{Value, json};

use crate::support::{Answer, Client, Running, SOON, fixture, until};

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
    let tokens = ", parrot: 8 tokens in, 3 out, first after ";
    app.event("log", |line| line["text"].as_str().is_some_and(|text| text.contains(tokens)));

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

fn scraped(text: &str) -> prometheus_parse::Scrape {
    prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap()
}

/// The count or sum of a metric of a model.
fn of_model(scrape: &prometheus_parse::Scrape, name: &str, model: &str, label: Option<(&str, &str)>) -> f64 {
    let sample = scrape.samples.iter().find(|sample| {
        sample.metric == name
            && sample.labels.get("model") == Some(model)
            && label.is_none_or(|(name, value)| sample.labels.get(name) == Some(value))
    });
    match sample.map(|sample| &sample.value) {
        Some(prometheus_parse::Value::Counter(value) | prometheus_parse::Value::Gauge(value)) => *value,
        Some(prometheus_parse::Value::Histogram(classes)) => classes.last().unwrap().count,
        other => panic!("{name} of {model} is {other:?}"),
    }
}

#[tokio::test]
async fn tokens_are_in_the_line_of_a_request_and_in_the_metrics() {
    let (app, client) = (app(), Client::new());
    let url = |path: &str| format!("{}{path}", app.url);
    let ask = async |id: &str, content: &str, stream: bool| {
        let messages = json!([{ "role": "user", "content": content }]);
        let body = json!({ "model": "parrot", "messages": messages, "stream": stream });
        let request = client.raw().post(url("/v1/chat/completions")).json(&body);
        request.header("x-request-id", id).send().await.unwrap().text().await.unwrap()
    };
    let line = |id: &str| {
        let of_it = |line: &Value| {
            line["request_id"] == id && line["text"].as_str().unwrap().starts_with("POST /v1/")
        };
        app.event("log", of_it)["text"].as_str().unwrap().to_owned()
    };
    ask("in-one-piece", "one two three", false).await;
    let whole = line("in-one-piece");
    assert!(whole.contains(", 13 tokens in, 3 out, first after ") && whole.ends_with(", stop"), "{whole}");
    ask("as-a-stream", "one two", true).await;
    let streamed = line("as-a-stream");
    assert!(streamed.contains(", 7 tokens in, 2 out, ") && streamed.ends_with(", stop"), "{streamed}");
    ask("fails", "fail", true).await;
    assert!(line("fails").ends_with(", error"), "{}", line("fails"));
    let texts = json!({ "model": "org/letters", "input": ["abc", "defg"] });
    client.post(url("/v1/embeddings"), texts).await;

    // Its client leaves, so its numbers come after its line.
    let body =
        json!({ "model": "parrot", "messages": [{ "role": "user", "content": "hang" }], "stream": true });
    let mut left = client.raw().post(url("/v1/chat/completions")).json(&body).send().await.unwrap();
    left.chunk().await.unwrap().unwrap();
    let running =
        |scrape: &prometheus_parse::Scrape| of_model(scrape, "flash_model_answers_running", "parrot", None);
    let metrics = async || scraped(&client.get(url("/metrics")).await.text);
    until("the answer to run", SOON, async || {
        let running = running(&metrics().await);
        (running == 1.0).then_some(()).ok_or_else(|| format!("{running} run"))
    })
    .await;
    drop(left);
    until("the answer to be counted", SOON, async || {
        let scrape = metrics().await;
        let aborted =
            of_model(&scrape, "flash_model_answers_total", "parrot", Some(("finish_reason", "abort")));
        (aborted == 1.0 && running(&scrape) == 0.0).then_some(()).ok_or_else(|| format!("{aborted} aborted"))
    })
    .await;

    let answer = client.get(url("/metrics")).await;
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"), "{answer:?}");
    let scrape = scraped(&answer.text);
    let of_parrot = |name: &str, label| of_model(&scrape, name, "parrot", label);
    for (reason, count) in [("stop", 2.0), ("error", 1.0), ("length", 0.0)] {
        assert_eq!(
            of_parrot("flash_model_answers_total", Some(("finish_reason", reason))),
            count,
            "{reason}"
        );
    }
    // `hang` and `fail` said one word each.
    assert_eq!(of_parrot("flash_model_generated_tokens_total", None), 3.0 + 2.0 + 1.0 + 1.0);
    assert_eq!(of_parrot("flash_model_prompt_tokens_total", None), 13.0 + 7.0 + 4.0 + 4.0);
    assert_eq!(of_parrot("flash_model_time_to_first_token_seconds", None), 4.0);
    assert_eq!(of_parrot("flash_model_inter_token_latency_seconds", None), 3.0);
    assert_eq!(of_model(&scrape, "flash_model_prompt_tokens_total", "org/letters", None), 7.0);
    let also = client.get(url("/_flash/metrics")).await;
    assert!(also.text.contains("flash_workers{"), "{also:?}");
    assert_eq!(client.post(url("/metrics"), json!({})).await.status, 405);
}

#[tokio::test]
async fn what_init_says_is_printed_and_a_worker_whose_model_is_broken_is_replaced() {
    let (app, client) = (app(), Client::new());
    let ask = async |content: &str| {
        let body = json!({ "model": "parrot", "messages": [{ "role": "user", "content": content }] });
        client.post(format!("{}/v1/chat/completions", app.url), body).await
    };
    let first = ask("hello").await;
    app.event("log", |line| {
        line["text"] == "starting: teaching the parrot: 40 %" && line["worker"] == worker(&first)
    });
    let broken = ask("break").await;
    assert_eq!((broken.status, worker(&broken)), (500, worker(&first)), "{broken:?}");
    assert_eq!(broken.json()["error"]["message"], "the parrot broke a wing");
    app.event("log", |line| line["text"] == "unhealthy, replacing it: the parrot broke a wing");
    let next = ask("hello again").await;
    assert_eq!(next.json()["choices"][0]["message"]["content"], "hello again", "{next:?}");
    assert_ne!(worker(&next), worker(&first));
}
