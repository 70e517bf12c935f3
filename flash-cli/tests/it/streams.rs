//! Streams between workers: chunk by chunk, within the call, to their end or as long as somebody reads.
use serde_json::{Value, json};

use crate::support::{Client, Running, SOON, fixture, until};

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

    fn file(&self, name: &str) -> String {
        self.files.path().join(name).display().to_string()
    }

    /// The output of a function, or the error of its job.
    async fn output(&self, path: &str, input: Value) -> Value {
        let answer = self.client.post(format!("{}{path}/run_sync", self.running.url), input).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let job = answer.json();
        assert_eq!(job["status"], "COMPLETED", "{job}");
        job["output"].clone()
    }

    fn tale(&self, name: &str, to: u32, ending: &str) -> Value {
        let (go, left) = (self.file(&format!("{name}.go")), self.file(&format!("{name}.left")));
        json!({ "go": go, "left": left, "to": to, "ending": ending })
    }
}

#[tokio::test]
async fn a_method_streams_to_another_worker_chunk_by_chunk_and_its_failure_is_the_last_item() {
    let app = App::start();
    // More than the window of the exchange, and the first is read before the second is made.
    let well = app.output("/told/hear", app.tale("well", 5_000, "well")).await;
    assert_eq!(well, json!({ "told": 5_000, "within": true, "failure": null }));
    for (ending, kind, message) in
        [("failure", "handler", "the tale has no end"), ("panic", "panic", "the teller fell asleep")]
    {
        let heard = app.output("/told/hear", app.tale(ending, 3, ending)).await;
        assert_eq!((&heard["told"], &heard["within"]), (&json!(3), &json!(true)), "{heard}");
        assert_eq!(
            (&heard["failure"][0], &heard["failure"][2]),
            (&json!(kind), &json!("teller/Teller::tell"))
        );
        assert!(heard["failure"][1].as_str().unwrap().contains(message), "{heard}");
    }
}

#[tokio::test]
async fn dropping_a_stream_ends_its_thread_and_frees_its_worker() {
    let app = App::start();
    let heard = app.output("/told/hear_one", app.tale("one", 1_000_000, "well")).await;
    assert_eq!(heard["number"], 1);
    let left = app.file("one.left");
    let told: u32 = until("the end of the thread", SOON, async || {
        let text = std::fs::read_to_string(&left).map_err(|error| error.to_string())?;
        text.parse().map_err(|_| format!("{text:?}"))
    })
    .await;
    // It waited after the first, and the next one was refused.
    assert_eq!(told, 1);
    // The only worker of its type runs one job at a time, so it is free again.
    let steps = app.output("/told/steps", json!({ "to": 3 })).await;
    assert_eq!(steps, json!([1, 2, 3]));
}

#[tokio::test]
async fn events_of_a_route_have_ids_and_names_and_a_client_that_reconnects_says_where_it_was() {
    let app = App::start();
    let get = async |path: &str, last: Option<&str>| {
        let request = app.client.raw().get(format!("{}{path}", app.running.url));
        let request = match last {
            Some(last) => request.header("last-event-id", last),
            None => request,
        };
        app.client.send(request).await.text
    };
    let tick = |number: u32| format!("id: {number}\nevent: tick\nretry: 2000\ndata: {number}\n\n");
    assert_eq!(get("/named/2", None).await, tick(1) + &tick(2));
    assert_eq!(get("/named/3", Some("2")).await, tick(3));
    let named = app.output("/told/hear_named", json!({ "to": 2 })).await;
    assert_eq!(named, json!([["tick", "1", 1], ["tick", "2", 2]]));
    let plain = get("/ticks/2?ending=failure", None).await;
    let ids: Vec<&str> = plain.lines().filter(|line| line.starts_with("id:")).collect();
    assert_eq!(ids, ["id: 1", "id: 2"], "{plain}");
    assert!(plain.contains("event: error\n"), "{plain}");
}

#[tokio::test]
async fn a_client_that_reconnects_gets_the_events_that_it_missed_from_the_worker_that_keeps_them() {
    let app = App::start();
    let url = format!("{}/kept/5", app.running.url);
    let events = |text: &str| -> Vec<(String, Value)> {
        let event = |event: &str| {
            let (id, data) = event.strip_prefix("id: ")?.split_once("\ndata: ")?;
            Some((id.to_owned(), serde_json::from_str(data.trim()).ok()?))
        };
        text.split_inclusive("\n\n").map(|text| event(text).unwrap_or_else(|| panic!("{text}"))).collect()
    };
    // Two workers, so that the next client could come to another one.
    let mut clients = Vec::new();
    for _ in 0..2 {
        let mut client = app.client.raw().get(&url).send().await.unwrap();
        let first = client.chunk().await.unwrap().unwrap();
        let (id, data) = events(std::str::from_utf8(&first).unwrap()).remove(0);
        clients.push((client, id, data[0].clone()));
    }
    for (client, id, run) in clients {
        assert!(id.starts_with("1-"), "{id}");
        drop(client);
        let again = app.client.raw().get(&url).header("last-event-id", &id);
        let rest = events(&app.client.send(again).await.text);
        let data: Vec<Value> = rest.iter().map(|(_, data)| data.clone()).collect();
        assert_eq!(data, (2..=5).map(|number| json!([run, number])).collect::<Vec<_>>());
    }
    // A stream that nobody knows is a new one.
    let other = format!("4-{}-nobody", "0a".repeat(16));
    let again = app.client.raw().get(&url).header("last-event-id", other);
    assert_eq!(events(&app.client.send(again).await.text).len(), 5);
}
