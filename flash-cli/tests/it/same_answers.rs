//! The same call gives the same answer everywhere: routes that stream, threads that nobody waits for, values
//! that JSON has no form for, keys that come twice.
use serde_json::{Value, json};

use crate::support::{self, Answer, Client, Running, SOON, fixture, until};

/// A running fixture, and a directory for the files by which a test and its functions speak.
struct App {
    running: Running,
    client: Client,
    files: tempfile::TempDir,
}

impl App {
    fn start() -> Self {
        let running = Running::start(&fixture(), &["--no-reload"]);
        Self { running, client: Client::new(), files: tempfile::tempdir().unwrap() }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.url)
    }

    async fn get(&self, path: &str) -> Answer {
        self.client.get(self.url(path)).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.client.post(self.url(path), body).await
    }

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    async fn text_of(&self, name: &str) -> String {
        let path = self.files.path().join(name);
        until(name, SOON, async || match std::fs::read_to_string(&path) {
            Ok(text) => Ok(text),
            Err(error) => Err(error.to_string()),
        })
        .await
    }
}

/// Name and data of each event.
fn events(text: &str) -> Vec<(String, Value)> {
    let mut events = flash_protocol::wire::events::Events::default();
    let found = events.push(text.as_bytes()).unwrap();
    found.into_iter().map(|event| (event.name, serde_json::from_str(&event.data).unwrap())).collect()
}

#[tokio::test]
async fn a_route_that_streams_runs_within_its_call_and_its_failure_is_the_last_event() {
    let app = App::start();
    let request = app.client.raw().get(app.url("/ticks/2?ending=well")).header("x-request-id", "ticking");
    let answer = app.client.send(request).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "text/event-stream"), "{answer:?}");
    let tick = |number: u32| json!({ "number": number, "request_id": "ticking", "in_time": true });
    assert_eq!(events(&answer.text), [(String::new(), tick(1)), (String::new(), tick(2))]);

    for (ending, kind, message) in [
        ("failure", "handler", "the clock stopped"),
        ("panic", "panic", "the clock broke"),
        ("never", "timeout", "`ticks` exceeded its time limit"),
    ] {
        let answer = app.get(&format!("/ticks/1?ending={ending}")).await;
        let events = events(&answer.text);
        let [(_, first), (name, last)] = events.as_slice() else { panic!("{ending}: {answer:?}") };
        assert_eq!((&first["number"], name.as_str(), &last["kind"]), (&json!(1), "error", &json!(kind)));
        assert!(last["message"].as_str().unwrap().contains(message), "{last}");
        assert_eq!(last["request_id"], answer.header("x-request-id"));
        assert!(last["worker_id"].as_str().unwrap().starts_with("live-"), "{last}");
        // The log has it under the same request.
        app.running.event("log", |line| {
            line["request_id"] == last["request_id"] && line["text"].as_str().unwrap().contains(message)
        });
    }
    // Before the first chunk there is a status to say it with.
    let refused = app.get("/ticks/many?ending=well").await;
    assert_eq!((refused.status, &refused.json()["fields"][0]["path"]), (422, &json!("/to")), "{refused:?}");

    let mark = app.file("dropped");
    let request = app.client.raw().get(app.url("/ticks/1")).query(&[("ending", "never"), ("mark", &mark)]);
    let mut streaming = request.send().await.unwrap();
    assert!(streaming.chunk().await.unwrap().is_some());
    drop(streaming);
    assert_eq!(app.text_of("dropped").await, "within its call");
}

#[tokio::test]
async fn a_route_that_streams_is_called_from_rust() {
    let app = App::start();
    let listen = async |ending: &str| {
        let answer = app.post("/live/listen/run_sync", json!({ "to": 3, "ending": ending })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["output"].clone()
    };
    let well = listen("well").await;
    assert_eq!(well, json!({ "numbers": [1, 2, 3], "failure": null, "same_request": true }));
    let panicked = listen("panic").await;
    assert_eq!(panicked["numbers"], json!([1, 2, 3]));
    let [kind, message, stage] = panicked["failure"].as_array().unwrap().as_slice() else {
        panic!("{panicked}")
    };
    assert_eq!((kind, stage), (&json!("panic"), &json!("live/ticks")));
    assert!(message.as_str().unwrap().contains("the clock broke"), "{message}");
}

#[tokio::test]
async fn a_value_without_a_json_form_fails_its_job_with_the_place() {
    let app = App::start();
    let half = app.post("/live/divide/run_sync", json!({ "left": 1, "right": 2 })).await;
    assert_eq!(half.json()["output"], json!({ "parts": [{ "quotient": 0.5 }] }));
    let infinite = app.post("/live/divide/run_sync", json!({ "left": 1, "right": 0 })).await;
    let body = infinite.json();
    assert_eq!((infinite.status, &body["kind"], &body["status"]), (500, &json!("encode"), &json!("FAILED")));
    let error = body["error"].as_str().unwrap();
    assert!(error.contains("`parts[0].quotient`: infinity is not a JSON number"), "{error}");
    let chunks = app.post("/live/divide_each/run_sync", json!({ "left": 0, "rights": [1, 0] })).await;
    assert_eq!((chunks.status, &chunks.json()["kind"]), (500, &json!("encode")), "{chunks:?}");
    assert!(chunks.text.contains("a chunk of the result cannot be written as JSON: NaN"), "{chunks:?}");
}

#[tokio::test]
async fn a_repeated_key_is_a_list_and_every_wrong_parameter_is_named() {
    let app = App::start();
    let found = app.get("/search?tag=a&tag=b%20c&page=7").await;
    assert_eq!(found.json(), json!({ "tag": ["a", "b c"], "page": 7, "exact": null }), "{found:?}");
    assert_eq!(app.get("/search?tag=a").await.json()["tag"], json!(["a"]));
    let wrong = app.get("/search?page=300&page=1&exact=perhaps").await;
    let fields = wrong.json()["fields"].clone();
    let paths: Vec<&str> =
        fields.as_array().unwrap().iter().map(|field| field["path"].as_str().unwrap()).collect();
    assert_eq!((wrong.status, paths), (422, vec!["/page", "/exact"]), "{wrong:?}");
    assert_eq!(fields[0]["message"], "given 2 times, expected one value");
}

#[tokio::test]
async fn a_thread_that_outlives_its_time_keeps_its_slot_until_its_process_is_gone() {
    let app = App::start();
    let never = app.file("never");
    let late = app.post("/hasty", json!({ "started": app.file("first"), "file": never })).await;
    assert_eq!((late.status, &late.json()["kind"]), (504, &json!("timeout")), "{late:?}");
    let first: i32 = app.text_of("first").await.parse().unwrap();
    std::fs::write(app.file("now"), "").unwrap();
    // There is one slot in all, so this one begins when it is free.
    let next = app.post("/hasty", json!({ "started": app.file("second"), "file": app.file("now") })).await;
    assert_eq!(next.status, 200, "{next:?}");
    assert_ne!(next.json(), json!(first));
    assert!(!support::is_alive(first), "the thread ran on beside the next request");
    app.running.event("log", |line| {
        line["text"].as_str().unwrap().contains("still working on a request that ended")
    });
}

#[tokio::test]
async fn a_thread_whose_client_has_gone_keeps_its_slot_until_it_has_ended() {
    let app = App::start();
    let (url, gate) = (app.url("/stubborn"), app.file("gate"));
    let ask = |started: &str| {
        let (client, url) = (app.client.clone(), url.clone());
        let body = json!({ "started": app.file(started), "file": gate });
        tokio::spawn(async move { client.post(url, body).await })
    };
    let gone = ask("first");
    let process = app.text_of("first").await;
    gone.abort();
    let next = ask("second");
    until("the second request to wait", SOON, async || {
        assert!(!std::path::Path::new(&app.file("second")).exists(), "it runs beside the first one");
        let health = app.get("/v2/stubborn/health").await.json();
        match (&health["jobs"]["inProgress"], &health["jobs"]["inQueue"]) {
            (running, waiting) if running == 1 && waiting == 1 => Ok(()),
            _ => Err(health.to_string()),
        }
    })
    .await;
    std::fs::write(&gate, "").unwrap();
    let next = next.await.unwrap();
    assert_eq!((next.status, next.text.as_str()), (200, process.as_str()), "the same process: {next:?}");
    until("both slots to be free", SOON, async || {
        let health = app.get("/v2/stubborn/health").await.json();
        if health["jobs"]["inProgress"] == 0 { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
}
