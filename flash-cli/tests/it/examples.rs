//! The examples about HTTP and about jobs, as their READMEs say, through the real binary.
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Running, SOON, kept::Endpoint, root};

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
