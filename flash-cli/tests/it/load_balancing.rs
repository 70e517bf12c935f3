//! Load-balanced endpoints through `flash run`, with a server that knows nothing of Flash as the worker.
use std::{path::PathBuf, sync::OnceLock};

use futures_util::{SinkExt as _, StreamExt as _, stream};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        client::IntoClientRequest as _,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::support::{self, Answer, Client, Running, SOON, cargo, crate_of, root, until};

const WORKER_ID: &str = "x-runpod-worker-id";
const MEGABYTES_30: usize = 30_000_000;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The server, built once per test process.
fn server() -> &'static PathBuf {
    static SERVER: OnceLock<PathBuf> = OnceLock::new();
    SERVER.get_or_init(|| {
        let mut build = cargo(&["build", "--quiet", "-p", "fixture-server"]);
        assert!(build.current_dir(root()).status().unwrap().success());
        root().join("target/debug/fixture-server")
    })
}

/// A running app whose only worker types are `[workers.NAME]` with these settings.
struct App {
    running: Running,
    client: Client,
    _directory: TempDir,
}

impl App {
    fn start(workers: &[(&str, &str)]) -> Self {
        Self::start_with(workers, &["--no-reload"])
    }

    fn start_with(workers: &[(&str, &str)], arguments: &[&str]) -> Self {
        let section = |(name, settings): &(&str, &str)| {
            let command = json!([server()]);
            format!("[workers.{name}]\nkind = \"load_balanced\"\ncommand = {command}\n{settings}\n")
        };
        let flash_toml: String = workers.iter().map(section).collect();
        let main = "#[flash_sdk::main]\nasync fn main() {}\n";
        let directory = crate_of("balanced", &[("src/main.rs", main), ("flash.toml", &flash_toml)]);
        let target = root().join("target");
        let environment = [("CARGO_TARGET_DIR", target.to_str().unwrap())];
        let running = Running::start_with(directory.path(), arguments, &environment);
        Self { running, client: Client::new(), _directory: directory }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.url)
    }

    async fn get(&self, path: &str) -> Answer {
        self.client.get(self.url(path)).await
    }

    /// A request that wants a worker.
    async fn get_from(&self, worker: &str, path: &str) -> Answer {
        self.client.send(self.client.raw().get(self.url(path)).header(WORKER_ID, worker)).await
    }

    async fn open(&self, gate: &str) -> Answer {
        self.client.post(self.url(&format!("/web/gate/{gate}")), json!({})).await
    }

    /// Waits until a gate of the only worker was opened this often.
    async fn opened(&self, gate: &str, times: u64) {
        until(gate, SOON, async || {
            let gates = self.get("/web/gates").await.json();
            (gates[gate] == times).then_some(()).ok_or_else(|| gates.to_string())
        })
        .await;
    }

    /// Waits until the health of a worker type has these numbers.
    async fn healthy(&self, worker: &str, expected: &[(&str, u64)]) {
        until("its health", SOON, async || {
            let health = self.get(&format!("/v2/{worker}/health")).await.json();
            let fits = |(path, number): &(&str, u64)| health.pointer(path) == Some(&json!(number));
            expected.iter().all(fits).then_some(()).ok_or_else(|| health.to_string())
        })
        .await;
    }

    async fn socket(&self, path: &str) -> (Socket, String) {
        let url = self.url(path).replacen("http", "ws", 1);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
        let (socket, answer) = connect_async(request).await.unwrap();
        assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
        (socket, answer.headers()[WORKER_ID].to_str().unwrap().to_owned())
    }

    /// Sends it in a task of its own.
    fn spawn_get(&self, path: &str) -> tokio::task::JoinHandle<Answer> {
        let (client, url) = (self.client.clone(), self.url(path));
        tokio::spawn(async move { client.get(url).await })
    }
}

fn text(answer: &Answer, field: &str) -> String {
    answer.json()[field].as_str().unwrap_or_default().to_owned()
}

async fn echoed(socket: &mut Socket, message: Message) {
    socket.send(message.clone()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), message);
}

#[tokio::test]
async fn a_web_socket_goes_through_with_text_binary_and_close_code() {
    let app = App::start(&[("web", "workers = \"1..=1\"\nmax_concurrency = 4")]);
    let (mut socket, worker) = app.socket("/web/socket").await;
    assert!(worker.starts_with("web-"), "{worker}");
    echoed(&mut socket, Message::text("hello")).await;
    echoed(&mut socket, Message::binary(vec![0_u8, 255, 10, 13])).await;
    echoed(&mut socket, Message::binary(vec![7_u8; 1_000_000])).await;
    socket.send(Message::text("close 4001 enough")).await.unwrap();
    let frame = CloseFrame { code: CloseCode::from(4001), reason: "enough".into() };
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::Close(Some(frame)));
    assert!(socket.next().await.is_none(), "the connection ends");
    app.healthy("web", &[("/jobs/inProgress", 0)]).await;

    // A worker that drops its end ends the client's, and the other way round.
    let (mut socket, _) = app.socket("/web/socket").await;
    socket.send(Message::text("drop")).await.unwrap();
    assert!(!matches!(socket.next().await, Some(Ok(_))));
    let (mut socket, _) = app.socket("/web/socket").await;
    echoed(&mut socket, Message::text("hello")).await;
    drop(socket);
    app.opened("socket-gone", 3).await;
    app.healthy("web", &[("/jobs/inProgress", 0)]).await;

    // A request that is no upgrade gets the worker's own answer.
    let plain = app.get("/web/socket").await;
    assert_eq!((plain.status, plain.text.as_str()), (426, "a WebSocket is expected"));
    let odd = app.get("/web/plain-switch").await;
    assert!(odd.status == 502 && odd.text.contains("did not request"), "{odd:?}");
}

#[tokio::test]
async fn an_idle_web_socket_is_load_and_keeps_its_worker() {
    let settings = "workers = \"0..=1\"\nidle_timeout = 1\nmax_concurrency = 1";
    let app = App::start(&[("web", settings), ("clock", settings)]);
    let (mut socket, _) = app.socket("/web/socket").await;
    app.healthy("web", &[("/jobs/inProgress", 1), ("/workers/running", 1)]).await;
    // Another worker with the same idle timeout comes and goes meanwhile.
    assert_eq!(app.get("/clock/").await.status, 200);
    app.healthy("clock", &[("/workers/ready", 0), ("/workers/initializing", 0)]).await;
    echoed(&mut socket, Message::text("still here")).await;

    // The socket has the only slot; who comes waits for its end.
    let waiting = app.spawn_get("/web/");
    app.healthy("web", &[("/jobs/inQueue", 1)]).await;
    socket.close(None).await.unwrap();
    assert_eq!(waiting.await.unwrap().status, 200);
    app.healthy("web", &[("/workers/ready", 0), ("/workers/initializing", 0)]).await;
}

#[tokio::test]
async fn an_open_web_socket_does_not_hold_up_the_stop() {
    let app = App::start_with(&[("web", "workers = \"1..=1\"")], &["--no-reload", "--drain-seconds", "300"]);
    let (mut socket, _) = app.socket("/web/socket").await;
    app.running.signal(Signal::SIGTERM);
    assert!(app.running.wait().success());
    assert!(!matches!(socket.next().await, Some(Ok(_))));
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one() {
    let app = App::start(&[("web", "workers = \"1..=1\"\nmax_concurrency = 2")]);
    let request = app.client.raw().get(app.url("/web/events/news")).header("accept", "text/event-stream");
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert!(response.headers().contains_key(WORKER_ID));
    for number in 0..3 {
        let event = response.chunk().await.unwrap().unwrap();
        assert_eq!(event, format!("data: {number}\n\n"));
        // Only now the next one is made.
        app.open("news").await;
    }
    assert_eq!(response.chunk().await.unwrap(), None);
}

#[tokio::test]
async fn an_upload_streams_to_the_worker() {
    let app = App::start(&[("web", "workers = \"1..=1\"\nmax_concurrency = 2")]);
    let (chunks, body) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let body = stream::unfold(body, async |mut body| Some((body.recv().await?, body)));
    let request = app.client.raw().post(app.url("/web/upload/chunks")).body(reqwest::Body::wrap_stream(body));
    let (client, answer) = (app.client.clone(), tokio::sync::oneshot::channel());
    tokio::spawn(async move { answer.0.send(client.send(request).await) });
    for (count, chunk) in (1..).zip(["a", "bc", "def"]) {
        chunks.send(Ok(chunk)).await.unwrap();
        // The worker has it before the next one is sent.
        app.opened("chunks", count).await;
    }
    drop(chunks);
    assert_eq!(answer.1.await.unwrap().json()["length"], 6);
}

#[tokio::test]
async fn thirty_megabytes_pass_in_each_direction_and_no_more() {
    let app = App::start(&[("web", "workers = \"1..=1\"\nmax_concurrency = 4")]);
    let upload = async |size: usize| {
        let request = app.client.raw().post(app.url("/web/")).body(vec![b'x'; size]);
        app.client.send(request).await
    };
    assert_eq!(upload(MEGABYTES_30).await.json()["length"], MEGABYTES_30);
    let refused = upload(MEGABYTES_30 + 1).await;
    assert!(refused.status == 413 && text(&refused, "error").contains("30 MB"), "{refused:?}");
    let chunks = (0..31).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 1_000_000]));
    let body = reqwest::Body::wrap_stream(stream::iter(chunks));
    let refused = app.client.send(app.client.raw().post(app.url("/web/")).body(body)).await;
    assert!(refused.status == 413 && text(&refused, "error").contains("30 MB"), "{refused:?}");

    for kind in ["", "&chunked=true"] {
        let whole = app.get(&format!("/web/bytes?count={MEGABYTES_30}{kind}")).await;
        assert_eq!((whole.status, whole.text.len()), (200, MEGABYTES_30));
    }
    let path = format!("/web/bytes?count={}", MEGABYTES_30 + 1);
    let refused = app.get(&path).await;
    let error = text(&refused, "error");
    assert!(
        refused.status == 502 && error.contains("30000001 bytes") && error.contains("30 MB"),
        "{refused:?}"
    );
    assert_eq!(refused.header(WORKER_ID), text(&refused, "worker_id"));
    let head = app.client.send(app.client.raw().head(app.url(&path))).await;
    assert_eq!(head.status, 200, "no body, no limit");

    let request =
        app.client.raw().get(app.url(&format!("{path}&chunked=true"))).header("x-request-id", "big");
    let streamed = request.send().await.unwrap();
    assert_eq!(streamed.status(), 200);
    assert!(streamed.bytes().await.is_err(), "its end must not look like one");
    let line = app.running.event("log", |line| line["text"].as_str().unwrap().contains("over 30 MB"));
    assert_eq!(line["request_id"], "big");
    app.healthy("web", &[("/jobs/inProgress", 0)]).await;
}

#[tokio::test]
async fn a_request_gets_the_worker_that_it_asks_for() {
    let app = App::start(&[("web", "workers = \"2..=2\"\nmax_concurrency = 1")]);
    let first = app.get("/web/").await;
    let worker = first.header(WORKER_ID).to_owned();
    assert_eq!(text(&first, "worker"), worker);
    for _ in 0..5 {
        assert_eq!(app.get_from(&worker, "/web/").await.header(WORKER_ID), worker);
        assert_eq!(app.get_from("unknown", "/web/").await.status, 200, "soft: any other will do");
    }
    let strict = format!("strict {worker}");
    let wrong = app.get_from("somehow this", "/web/").await;
    assert!(wrong.status == 400 && wrong.text.contains("strict WORKER"), "{wrong:?}");

    // While it is busy, who prefers it gets the other one and who insists waits.
    let held = {
        let (client, url) = (app.client.clone(), app.url("/web/hold/busy"));
        let request = client.raw().get(url).header(WORKER_ID, &strict);
        tokio::spawn(async move { client.send(request).await })
    };
    app.healthy("web", &[("/jobs/inProgress", 1)]).await;
    let other = app.get_from(&worker, "/web/").await.header(WORKER_ID).to_owned();
    assert_ne!(other, worker);
    let insisting = {
        let request = app.client.raw().get(app.url("/web/")).header(WORKER_ID, &strict);
        let client = app.client.clone();
        tokio::spawn(async move { client.send(request).await })
    };
    app.healthy("web", &[("/jobs/inProgress", 1), ("/jobs/inQueue", 1)]).await;
    // Its death lets both know.
    let pid = i32::try_from(first.json()["pid"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let broken = held.await.unwrap();
    assert!(broken.status == 502 && broken.text.contains("SIGKILL"), "{broken:?}");
    let gone = insisting.await.unwrap();
    assert_eq!((gone.status, text(&gone, "code").as_str()), (404, "affinity_worker_gone"), "{gone:?}");
    assert!(text(&gone, "error").contains(&worker), "{gone:?}");
    assert_eq!(app.get_from(&worker, "/web/").await.status, 200);
    // It died: there is nothing to resume.
    let gone = app.get_from(&format!("strict-resume {worker}"), "/web/").await;
    assert_eq!((gone.status, text(&gone, "code").as_str()), (404, "affinity_worker_gone"));
}

#[tokio::test]
async fn a_worker_that_was_scaled_down_is_resumed_for_who_insists() {
    let app = App::start(&[("web", "workers = \"0..=1\"\nidle_timeout = 1")]);
    let first = app.get("/web/").await;
    let worker = first.header(WORKER_ID).to_owned();
    let none = [("/workers/ready", 0), ("/workers/initializing", 0), ("/workers/running", 0)];
    app.healthy("web", &none).await;
    assert_eq!(app.get_from(&format!("strict {worker}"), "/web/").await.status, 404);
    let again = app.get_from(&format!("strict-resume {worker}"), "/web/").await;
    assert_eq!((again.status, again.header(WORKER_ID)), (200, worker.as_str()), "{again:?}");
    assert_ne!(again.json()["pid"], first.json()["pid"], "its process is a new one");

    // Where another one has taken its place there is no room for it.
    app.healthy("web", &none).await;
    let other = app.get("/web/").await.header(WORKER_ID).to_owned();
    assert_ne!(other, worker);
    let full = app.get_from(&format!("strict-resume {worker}"), "/web/").await;
    assert!(full.status == 503 && full.text.contains("1 of 1 workers"), "{full:?}");
}

#[tokio::test]
async fn a_death_during_a_request_is_told_with_worker_and_cause() {
    let app = App::start(&[("web", "workers = \"1..=1\"\nmax_concurrency = 4")]);
    let dead = app.get("/web/die?words=my%20last%20words").await;
    let (error, worker) = (text(&dead, "error"), text(&dead, "worker_id"));
    assert_eq!((dead.status, dead.header(WORKER_ID)), (502, worker.as_str()), "{dead:?}");
    for part in [worker.as_str(), "`web`", "SIGABRT", "my last words"] {
        assert!(error.contains(part), "{part}: {dead:?}");
    }
    assert_eq!(text(&dead, "stage"), "web");
    assert_eq!(text(&dead, "request_id"), dead.header("x-request-id"));

    let request = app.client.raw().get(app.url("/web/die?words=amid&after=1000&gate=now"));
    let mut response = request.header("x-request-id", "cut").send().await.unwrap();
    assert_eq!(response.chunk().await.unwrap().unwrap().len(), 1000);
    app.open("now").await;
    assert!(response.chunk().await.is_err(), "its end must not look like one");
    let line = app.running.event("log", |line| line["text"].as_str().unwrap().contains("cut off"));
    assert_eq!(line["request_id"], "cut");
    assert!(line["text"].as_str().unwrap().contains("1000 bytes"), "{line}");
    assert_eq!(app.get("/web/").await.status, 200, "there is a new worker");
}

#[tokio::test]
async fn a_request_that_no_worker_has_seen_goes_to_another_one() {
    let app = App::start(&[("web", "workers = \"2..=2\"")]);
    let deaf = app.client.post(app.url("/web/deaf"), json!({})).await;
    let worker = deaf.header(WORKER_ID).to_owned();
    let request = app.client.raw().post(app.url("/web/")).header(WORKER_ID, &worker).body("whole");
    let served = app.client.send(request).await;
    assert_eq!((served.status, served.json()["length"].as_u64()), (200, Some(5)), "{served:?}");
    assert_ne!(served.header(WORKER_ID), worker);
    let pid = i32::try_from(deaf.json()["pid"].as_i64().unwrap()).unwrap();
    until("the deaf worker's end", SOON, async || {
        (!support::is_alive(pid)).then_some(()).ok_or_else(|| "still lives".to_owned())
    })
    .await;
    app.healthy("web", &[("/workers/ready", 2)]).await;
}

#[tokio::test]
async fn requests_start_a_worker_and_are_served_in_order_of_arrival() {
    let app = App::start(&[("web", "workers = \"0..=1\"\nmax_concurrency = 1")]);
    // Waits for the first worker, then has its only slot.
    let holding = app.spawn_get("/web/hold/line");
    app.healthy("web", &[("/jobs/inProgress", 1), ("/jobs/inQueue", 0)]).await;
    let mut line = Vec::new();
    for place in 1..=8 {
        let (client, url) = (app.client.clone(), app.url("/web/gate/order"));
        line.push(tokio::spawn(async move { client.post(url, json!({})).await }));
        app.healthy("web", &[("/jobs/inQueue", place)]).await;
    }
    // One who loses patience leaves no gap.
    line.remove(3).abort();
    app.healthy("web", &[("/jobs/inQueue", 7)]).await;
    // The gate can only be opened by a request, and that is last in line: the holder's client goes instead.
    holding.abort();
    for (place, waiting) in (1..).zip(line) {
        assert_eq!(waiting.await.unwrap().json(), json!(place));
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_slot_and_its_worker_notices() {
    let app = App::start(&[("web", "workers = \"1..=1\"\nmax_concurrency = 2")]);
    let waiting = app.spawn_get("/web/hold/answer");
    app.opened("answer-came", 1).await;
    app.healthy("web", &[("/jobs/inProgress", 1)]).await;
    waiting.abort();
    app.opened("answer-gone", 1).await;
    app.healthy("web", &[("/jobs/inProgress", 0)]).await;

    let mut response = app.client.raw().get(app.url("/web/events/left")).send().await.unwrap();
    response.chunk().await.unwrap().unwrap();
    app.healthy("web", &[("/jobs/inProgress", 1)]).await;
    drop(response);
    app.opened("left-gone", 1).await;
    app.healthy("web", &[("/jobs/inProgress", 0)]).await;
}

#[tokio::test]
async fn a_worker_gets_the_request_as_it_was_sent() {
    let app = App::start(&[("web", "workers = \"1..=1\"")]);
    let request = app.client.raw().request("PURGE".parse().unwrap(), app.url("/web/a%20b/c?x=1&y=%2F"));
    let request = request
        .header("x-own", "kept")
        .header("connection", "keep-alive, x-mine")
        .header("x-mine", "of this connection")
        .header("te", "trailers")
        .header("x-request-id", "r-1");
    let seen = app.client.send(request.body("abc")).await.json();
    assert_eq!((&seen["method"], &seen["uri"]), (&json!("PURGE"), &json!("/a%20b/c?x=1&y=%2F")));
    assert_eq!(
        (&seen["headers"]["x-own"], &seen["headers"]["x-request-id"]),
        (&json!("kept"), &json!("r-1"))
    );
    for hop in ["connection", "x-mine", "te"] {
        assert_eq!(seen["headers"][hop], Value::Null, "{hop}");
    }

    let refused = app.client.post(app.url("/v2/web/run"), json!({ "input": {} })).await;
    assert!(refused.status == 400 && refused.text.contains("not allowed"), "{refused:?}");
    app.healthy("web", &[("/workers/ready", 1), ("/jobs/inQueue", 0)]).await;
}
