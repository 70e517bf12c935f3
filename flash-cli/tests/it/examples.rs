//! The examples, as their READMEs say, through the real binary.
use std::process::Command;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Running, SOON, has_models, kept::Endpoint, root};

/// What the commands with `curl` in an example's README print, in their order, each asked of `app`.
fn curls_of_readme(app: &Running, example: &str) -> Vec<String> {
    let readme = root().join("examples").join(example).join("README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let address = app.url.strip_prefix("http://").unwrap();
    let lines = readme.lines().filter(|line| line.starts_with("curl"));
    lines
        .map(|line| {
            let command =
                line.replacen("curl", "curl -sSf --max-time 60", 1).replace("localhost:8888", address);
            let output = Command::new("sh").args(["-c", &command]).current_dir(root()).output().unwrap();
            assert!(output.status.success(), "{command}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        })
        .collect()
}

#[test]
fn hello_greets_with_the_commands_of_its_readme() {
    let app = Running::start(&root().join("examples/01_hello"), &["--no-reload"]);
    let printed = curls_of_readme(&app, "01_hello");
    let [route, job] = &printed[..] else { panic!("two commands are expected: {printed:?}") };
    assert_eq!(route, "\"Hello, Ada!\"");
    let job: serde_json::Value = serde_json::from_str(job).unwrap();
    assert_eq!((&job["status"], &job["output"]), (&json!("COMPLETED"), &json!("Hello, Bob!")), "{job}");
    let worker = job["workerId"].as_str().unwrap();
    assert!(worker.starts_with("greeter-"), "the queue's worker had it: {job}");
}

#[tokio::test]
async fn the_api_shrinks_pictures_tells_stories_and_passes_on_what_is_said() {
    let app = Running::start(&root().join("examples/05_api"), &["--no-reload"]);
    let client = Client::new();

    let form = [
        &b"--X\r\ncontent-disposition: form-data; name=\"picture\"; filename=\"red.png\"\r\n\r\n"[..],
        include_bytes!("examples/red.png"),
        b"\r\n--X--\r\n",
    ];
    let request = client.raw().post(format!("{}/pictures", app.url));
    let request = request.header("content-type", "multipart/form-data; boundary=X").body(form.concat());
    let answer = request.send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"image/png".parse().unwrap())
    );
    assert!(answer.bytes().await.unwrap().starts_with(b"\x89PNG"));

    let story = client.get(format!("{}/stories/Ada", app.url)).await;
    assert_eq!(story.status, 200, "{story:?}");
    assert!(story.text.starts_with("Once upon a time, Ada wrote"), "{story:?}");

    let chat = format!("{}/chat", app.url.replace("http", "ws"));
    let (mut first, _) = tokio_tungstenite::connect_async(chat.as_str()).await.unwrap();
    let (mut second, _) = tokio_tungstenite::connect_async(chat.as_str()).await.unwrap();
    // What it says itself comes back, so both are in the room now.
    second.send(Message::text("is anybody there?")).await.unwrap();
    assert_eq!(second.next().await.unwrap().unwrap(), Message::text("is anybody there?"));
    first.send(Message::text("hello")).await.unwrap();
    assert_eq!(second.next().await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test]
async fn jobs_run_again_at_their_time_and_on_workers_of_their_own() {
    let app = Running::start(&root().join("examples/06_jobs"), &["--no-reload"]);

    let prices = Endpoint::of(&app, "prices");
    let ready = app.event("ready", |_| true);
    let curl = ready["endpoints"].as_array().unwrap().iter().find(|own| own["function"] == "price").unwrap();
    assert!(curl["curl"].as_str().unwrap().contains(r#"{"share":"FLSH"}"#), "its own example: {curl}");
    let job = prices.run(json!({ "input": { "share": "RUST" } })).await;
    let end = prices.ended(&job).await;
    assert_eq!((&end["status"], &end["output"]), (&json!("COMPLETED"), &json!(7_300)), "{end}");
    assert!(end["retries"].as_u64() >= Some(1), "{end}");

    let simulations = Endpoint::of(&app, "simulations");
    let job = simulations.run(json!({ "input": { "walks": 2_000, "steps": 10 } })).await;
    let end = simulations.ended(&job).await;
    assert_eq!((&end["status"], &end["output"]["walks"]), (&json!("COMPLETED"), &json!(2_000)), "{end}");

    // The schedule fires within a minute, and its prices are asked for twice.
    app.event_within("log", SOON + std::time::Duration::from_secs(90), |line| {
        let text = line["text"].as_str().unwrap_or_default();
        line["worker_type"] == "reports" && text.contains("all shares together cost 11500 cents")
    });
}

#[tokio::test]
async fn models_chat_and_embed_behind_openais_api() {
    if !has_models(&["smollm2", "minilm"]) {
        return;
    }
    let app = Running::start(&root().join("examples/02_ml_inference"), &["--no-reload"]);
    let client = Client::new();

    let question = json!([{ "role": "user", "content": "Hello!" }]);
    let chat = |stream: bool| {
        let body = json!({ "model": "smollm2-135m", "messages": question, "temperature": 0, "max_tokens": 4, "stream": stream });
        client.post(format!("{}/v1/chat/completions", app.url), body)
    };
    let (whole, streamed) = tokio::join!(chat(false), chat(true));
    assert_eq!(whole.status, 200, "{whole:?}");
    let whole: serde_json::Value = serde_json::from_str(&whole.text).unwrap();
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.starts_with("Hello"), "{whole}");
    assert!(whole["usage"]["completion_tokens"].as_u64() > Some(0), "{whole}");
    let pieces = streamed.text.lines().filter_map(|line| line.strip_prefix("data: {"));
    let pieces = pieces.filter_map(|piece| {
        let piece: serde_json::Value = serde_json::from_str(&format!("{{{piece}")).unwrap();
        piece["choices"][0]["delta"]["content"].as_str().map(str::to_owned)
    });
    assert_eq!(pieces.collect::<String>(), text, "{streamed:?}");

    let body = json!({ "model": "minilm", "input": ["A cat sleeps.", "The kitten naps."], "encoding_format": "float" });
    let embedded = client.post(format!("{}/v1/embeddings", app.url), body).await;
    assert_eq!(embedded.status, 200, "{embedded:?}");
    let embedded: serde_json::Value = serde_json::from_str(&embedded.text).unwrap();
    let vector = |at: usize| -> Vec<f64> {
        serde_json::from_value(embedded["data"][at]["embedding"].clone()).unwrap()
    };
    let cosine: f64 = vector(0).iter().zip(vector(1)).map(|(a, b)| a * b).sum();
    assert!(vector(0).len() == 384 && (0.4..1.0).contains(&cosine), "{cosine}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_of_ones_own_knows_photos_also_beside_one_another_and_what_is_no_photo_fails_alone() {
    if !has_models(&["efficientnet-lite0"]) {
        return;
    }
    let app = Running::start(&root().join("examples/07_own_model"), &["--no-reload"]);
    let printed = curls_of_readme(&app, "07_own_model");
    let [cat] = &printed[..] else { panic!("one command is expected: {printed:?}") };
    assert!(cat.contains("{\"label\":\"Egyptian cat\",\"probability\":0."), "{cat}");

    let photos = root().join("examples/07_own_model/photos");
    let (client, url) = (Client::new(), format!("{}/classify", app.url));
    let best = async |name: &str| {
        let file = match name {
            "no photo" => b"words".to_vec(),
            name => std::fs::read(photos.join(name)).unwrap(),
        };
        let answer = client.send(client.raw().post(&url).body(file)).await;
        let best = match answer.status {
            200 => answer.json()[0]["label"].as_str().unwrap().to_owned(),
            _ => answer.json()["error"].as_str().unwrap().to_owned(),
        };
        (answer.status, best)
    };
    let all = ["cat.jpg", "coffee.jpg", "no photo", "camera.jpg", "coffee.jpg", "cat.jpg"].map(best);
    let [cat, coffee, none, camera, again, other] = &futures_util::future::join_all(all).await[..] else {
        panic!("six answers")
    };
    assert!(cat.1.contains("cat"), "{cat:?}");
    assert_eq!((coffee, camera), (&(200, "espresso".to_owned()), &(200, "tripod".to_owned())));
    assert_eq!((again, other), (coffee, cat), "a photo has one answer, whatever runs beside it");
    assert!(none.0 == 415 && none.1.contains("a JPEG or PNG"), "{none:?}");
}
