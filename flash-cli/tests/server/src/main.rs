//! A plain HTTP server on `$PORT`, as somebody who knows nothing of Flash would write it. What it does next
//! is in the request, so that tests force the order of things.
#![allow(clippy::unwrap_used, reason = "a server of tests fails by panicking")]
mod hostile;

use std::{collections::HashMap, convert::Infallible, sync::Mutex};

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Query, Request},
    response::{IntoResponse as _, Response},
    routing::{any, get, post},
};
use bytes::Bytes;
use futures_util::{SinkExt as _, Stream, StreamExt as _, stream};
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, frame::coding::CloseCode},
    },
};

/// How often each gate was opened.
static GATES: Mutex<Option<HashMap<String, watch::Sender<usize>>>> = Mutex::new(None);

fn gate(name: &str) -> watch::Sender<usize> {
    let mut gates = GATES.lock().unwrap();
    gates.get_or_insert_default().entry(name.to_owned()).or_default().clone()
}

/// Waits until a gate was opened this often.
async fn opened(name: &str, times: usize) {
    let _ = gate(name).subscribe().wait_for(|count| *count >= times).await;
}

#[tokio::main]
async fn main() {
    let port = std::env::var("PORT").unwrap().parse::<u16>().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    if std::env::args().any(|argument| argument == "hostile") {
        match hostile::serve(listener).await {}
    }
    let (stop, mut stopped) = watch::channel(false);
    let router = Router::new()
        .route("/ping", get(StatusCode::OK))
        .route("/gate/{name}", post(open))
        .route("/gates", get(gates))
        .route("/hold/{name}", get(hold))
        .route("/events/{name}", get(events))
        .route("/upload/{name}", post(upload))
        .route("/bytes", any(bytes))
        .route("/die", get(die))
        .route("/socket", get(socket))
        .route("/plain-switch", get(plain_switch))
        .route(
            "/deaf",
            post(async move || {
                stop.send_replace(true);
                // Or the next request would come over the connection of this one.
                ([(header::CONNECTION, "close")], who())
            }),
        )
        .fallback(echo);
    // From then on it refuses connections, and its process lives.
    tokio::select! {
        served = axum::serve(listener, router) => served.unwrap(),
        _ = stopped.wait_for(|stop| *stop) => {}
    }
    // Connections that are open go on until the answer is out.
    std::future::pending::<()>().await;
}

fn who() -> Json<Value> {
    Json(json!({ "worker": std::env::var("RUNPOD_POD_ID").unwrap_or_default(), "pid": std::process::id() }))
}

/// What the worker sees of a request.
async fn echo(request: Request) -> Json<Value> {
    let headers: HashMap<String, String> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let (method, uri) = (request.method().to_string(), request.uri().to_string());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    Json(json!({
        "method": method,
        "uri": uri,
        "headers": headers,
        "length": body.len(),
        "worker": std::env::var("RUNPOD_POD_ID").unwrap_or_default(),
        "pid": std::process::id(),
    }))
}

/// Opens a gate once more; answers how often that was done.
async fn open(Path(name): Path<String>) -> Json<usize> {
    let gate = gate(&name);
    gate.send_modify(|count| *count += 1);
    Json(*gate.borrow())
}

/// How often each gate was opened.
async fn gates() -> Json<Value> {
    let gates = GATES.lock().unwrap();
    let counts: HashMap<String, usize> =
        gates.iter().flatten().map(|(name, count)| (name.clone(), *count.borrow())).collect();
    Json(json!(counts))
}

/// Counts the gate `NAME-gone` up when it is dropped before its end.
struct Gone(Option<String>);

impl Gone {
    fn finished(&mut self) {
        self.0 = None;
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(name) = &self.0 {
            gate(&format!("{name}-gone")).send_modify(|count| *count += 1);
        }
    }
}

/// Answers when the gate is open. Says that it came by opening `NAME-came`, and that its client went away.
async fn hold(Path(name): Path<String>) -> Json<Value> {
    gate(&format!("{name}-came")).send_modify(|count| *count += 1);
    let mut gone = Gone(Some(name.clone()));
    opened(&name, 1).await;
    gone.finished();
    who()
}

/// Server-sent events: number N comes when the gate was opened N times. The third is the last.
async fn events(Path(name): Path<String>) -> Response {
    let gone = Gone(Some(name.clone()));
    let events = stream::unfold((0, gone), move |(number, mut gone)| {
        let name = name.clone();
        async move {
            if number == 3 {
                gone.finished();
                return None;
            }
            opened(&name, number).await;
            Some((Ok::<_, Infallible>(format!("data: {number}\n\n")), (number + 1, gone)))
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

/// Opens the gate for every chunk that comes.
async fn upload(Path(name): Path<String>, request: Request) -> Json<Value> {
    let mut body = request.into_body().into_data_stream();
    let mut length = 0;
    while let Some(Ok(chunk)) = body.next().await {
        length += chunk.len();
        gate(&name).send_modify(|count| *count += 1);
    }
    Json(json!({ "length": length }))
}

#[derive(Deserialize)]
struct Size {
    count: usize,
    /// Without a length in the head.
    #[serde(default)]
    chunked: bool,
}

/// As many bytes as asked for.
async fn bytes(Query(Size { count, chunked }): Query<Size>) -> Response {
    if chunked {
        return Body::from_stream(chunks(count)).into_response();
    }
    ([(header::CONTENT_LENGTH, count.to_string())], Body::from_stream(chunks(count))).into_response()
}

fn chunks(count: usize) -> impl Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(count, |left| async move {
        let next = left.min(64 * 1024);
        (next > 0).then(|| (Ok(Bytes::from(vec![b'x'; next])), left - next))
    })
}

#[derive(Deserialize)]
struct Death {
    words: String,
    /// Bytes of the answer before.
    #[serde(default)]
    after: usize,
    /// The gate to wait for before.
    gate: Option<String>,
}

/// Ends the process in the middle of its answer, or before it.
async fn die(Query(death): Query<Death>) -> Response {
    if death.after == 0 {
        abort(&death).await;
    }
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b'x'; death.after]))]);
    let then = stream::once(async move {
        abort(&death).await;
        Ok(Bytes::new())
    });
    Body::from_stream(first.chain(then)).into_response()
}

#[expect(clippy::print_stderr, reason = "last words are under test")]
async fn abort(death: &Death) {
    if let Some(name) = &death.gate {
        opened(name, 1).await;
    }
    eprintln!("{}", death.words);
    std::process::abort()
}

/// Switches protocols although nobody asked.
async fn plain_switch() -> Response {
    (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "odd")])
        .into_response()
}

/// A WebSocket that echoes text and binary. `close CODE REASON` closes it so; `drop` cuts it off.
async fn socket(headers: HeaderMap, mut request: Request) -> Response {
    let Some(key) = headers.get(header::SEC_WEBSOCKET_KEY).cloned() else {
        return (StatusCode::UPGRADE_REQUIRED, "a WebSocket is expected").into_response();
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let _gone = Gone(Some("socket".to_owned()));
        let stream = TokioIo::new(upgraded.await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        while let Some(Ok(message)) = socket.next().await {
            let text = message.to_text().unwrap_or_default().to_owned();
            if text == "drop" {
                return;
            }
            if let Some(close) = text.strip_prefix("close ") {
                let (code, reason) = close.split_once(' ').unwrap();
                let code = CloseCode::from(code.parse::<u16>().unwrap());
                let _ = socket.close(Some(CloseFrame { code, reason: reason.to_owned().into() })).await;
                continue;
            }
            if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err()
            {
                return;
            }
        }
    });
    let accept = derive_accept_key(key.as_bytes());
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, header::HeaderValue::from_static("Upgrade"));
    answer.insert(header::UPGRADE, header::HeaderValue::from_static("websocket"));
    answer.insert(header::SEC_WEBSOCKET_ACCEPT, accept.parse().unwrap());
    if headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, headers[header::SEC_WEBSOCKET_PROTOCOL].clone());
    }
    response
}
