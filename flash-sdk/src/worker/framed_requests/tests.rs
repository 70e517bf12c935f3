use std::time::Duration;

use axum::routing::{get, post};
use flash_protocol::wire::exchange::{self, FrameFormat, Reader, ToWorker};
use http::HeaderMap;
use tokio::io::DuplexStream;

use super::*;

/// The requests, the router with parked answers, where answers go, and where they arrive.
fn started() -> (FramedRequests, Router, Writer<ToPlatform>, Reader<DuplexStream>) {
    let app = Router::new()
        .route("/echo", post(|headers: HeaderMap, body: Bytes| async move { (headers, body) }))
        .route("/long", get(|| async { "x".repeat(MAX_BODY_BYTES + 1) }))
        .route("/held", get(std::future::pending::<()>))
        .route(
            "/panics",
            get(|| async {
                if true {
                    panic!("as it should")
                }
            }),
        );
    let (requests, router) = FramedRequests::new(app, "w-1");
    let (near, far) = tokio::io::duplex(1 << 20);
    let (frames, queued) = exchange::queue(FrameFormat::Short);
    tokio::spawn(exchange::serve(near, queued, |frame: ToWorker| panic!("{frame:?}")));
    (requests, router, frames, exchange::read(far))
}

fn request(slot: u64, method: &str, target: &str, body: &'static [u8]) -> RequestFrame {
    let headers = Fields(vec![
        ("x-own".into(), Bytes::from_static(b"\xff1")),
        ("x-own".into(), "2".into()),
        ("x-request-id".into(), "r-1".into()),
    ]);
    RequestFrame { slot, method: method.to_owned(), target: target.to_owned(), headers, body: body.into() }
}

async fn answer(reader: &mut Reader<DuplexStream>) -> AnswerFrame {
    match reader.next().await.unwrap() {
        Some(ToPlatform::Answer(answer)) => answer,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_is_answered_with_its_headers_and_body_as_they_are() {
    let (requests, _, frames, mut reader) = started();
    requests.start(request(7, "POST", "/echo?x", b"\0\xff"), &frames);
    let AnswerFrame { slot, status, headers, body } = answer(&mut reader).await;
    assert_eq!((slot, status, &*body), (7, 200, &b"\0\xff"[..]));
    let own: Vec<&[u8]> =
        headers.0.iter().filter(|(name, _)| &**name == "x-own").map(|(_, value)| &**value).collect();
    assert_eq!(own, [&b"\xff1"[..], b"2"]);
    requests.ended().await;
}

#[tokio::test]
async fn what_no_route_takes_is_refused_as_over_http() {
    let (requests, _, frames, mut reader) = started();
    for (target, method, status) in [("/none", "GET", 404), ("/echo", "GET", 405), ("no path", "GET", 400)] {
        requests.start(request(1, method, target, b""), &frames);
        assert_eq!(answer(&mut reader).await.status, status, "{method} {target}");
    }
}

#[tokio::test]
async fn a_long_answer_is_fetched_once_by_whoever_knows_its_name() {
    let (requests, mut router, frames, mut reader) = started();
    requests.start(request(3, "GET", "/long", b""), &frames);
    let Some(ToPlatform::Parked(ParkedFrame { slot: 3, path })) = reader.next().await.unwrap() else {
        panic!("not parked")
    };
    let mut ended = std::pin::pin!(requests.ended());
    assert!(futures_util::poll!(&mut ended).is_pending(), "it waits to be fetched");
    let mut fetch = async |path: &str| {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let response = router.call(request).await.unwrap_or_else(never);
        (response.status(), axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap().len())
    };
    assert_eq!(fetch(&format!("{PARKED_PATH}3/guessed")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(fetch(&path).await, (StatusCode::OK, MAX_BODY_BYTES + 1));
    assert_eq!(fetch(&path).await.0, StatusCode::NOT_FOUND);
    ended.await;
}

#[tokio::test]
async fn a_cancelled_request_is_dropped_and_so_is_its_parked_answer() {
    let (requests, _, frames, mut reader) = started();
    requests.start(request(1, "GET", "/held", b""), &frames);
    requests.start(request(2, "GET", "/long", b""), &frames);
    assert!(matches!(reader.next().await.unwrap(), Some(ToPlatform::Parked(_))));
    requests.cancel(1).await;
    requests.cancel(2).await;
    tokio::time::timeout(Duration::from_secs(60), requests.ended()).await.expect("nothing is left");
    let shared = requests.lock();
    assert!(shared.running.is_empty() && shared.parked.is_empty());
}

#[tokio::test]
async fn a_panic_is_answered() {
    let (requests, _, frames, mut reader) = started();
    requests.start(request(1, "GET", "/panics", b""), &frames);
    let answer = answer(&mut reader).await;
    assert_eq!(answer.status, 502);
    let body = String::from_utf8_lossy(&answer.body);
    assert!(["broke off", "w-1", "r-1"].iter().all(|part| body.contains(part)), "{body}");
    assert!(requests.lock().running.is_empty());
}

/// It cannot be aborted before it yields, which it does no more.
#[test]
fn an_answer_that_is_parked_after_its_request_was_cancelled_is_dropped() {
    let (started, mut starts) = tokio::sync::mpsc::channel(1);
    let (go_on, gate) = std::sync::mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let app = Router::new().route(
        "/busy",
        get(move || async move {
            started.try_send(()).unwrap();
            gate.lock().recv().unwrap();
            "x".repeat(MAX_BODY_BYTES + 1)
        }),
    );
    let (requests, _) = FramedRequests::new(app, "w-1");
    let (frames, _queued) = exchange::queue(FrameFormat::Short);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    runtime.block_on(async {
        requests.start(request(1, "GET", "/busy", b""), &frames);
        starts.recv().await.unwrap();
        let cancelled = requests.cancel(1);
        go_on.send(()).unwrap();
        cancelled.await;
        requests.ended().await;
    });
    let shared = requests.lock();
    assert!(shared.running.is_empty() && shared.parked.is_empty());
}

#[tokio::test]
async fn a_worker_that_ends_takes_no_request() {
    let (requests, _, frames, mut reader) = started();
    requests.ended().await;
    requests.start(request(5, "GET", "/held", b""), &frames);
    assert!(matches!(reader.next().await.unwrap(), Some(ToPlatform::NotTaken(5))));
}

#[tokio::test]
async fn without_a_platform_nothing_goes_on() {
    let (requests, _, frames, mut reader) = started();
    requests.start(request(1, "GET", "/held", b""), &frames);
    requests.start(request(2, "GET", "/long", b""), &frames);
    assert!(matches!(reader.next().await.unwrap(), Some(ToPlatform::Parked(_))));
    requests.cancel_all().await;
    tokio::time::timeout(Duration::from_secs(60), requests.ended()).await.expect("nothing is left");
}
