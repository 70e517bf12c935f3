//! A function that makes a router, as a test of an app uses it: no platform, no port.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Path, State},
    http::{Request, Response, StatusCode},
    routing::get,
};
use flash_sdk::{Error, Multipart, Result, TypedHeader, headers::UserAgent, remote};
use tower::ServiceExt as _;

#[remote(cpu = Cpu3c_1_2)]
async fn greet(name: String) -> Result<String> {
    match name.as_str() {
        "nobody" => Err(Error::status(409, "there is nobody")),
        name => Ok(format!("hello, {name}")),
    }
}

/// The site.
#[remote(worker = "site", cpu = Cpu3c_1_2, http)]
async fn site() -> Result<Router> {
    Ok(Router::new().route("/hello/{name}", get(async |Path(name): Path<String>| greet(name).await)))
}

struct Counter {
    count: AtomicU32,
}

#[remote(worker = "counter", cpu = Cpu3c_1_2)]
impl Counter {
    #[init]
    fn start() -> Self {
        Self { count: AtomicU32::new(0) }
    }

    /// Counts requests.
    #[http = "/count"]
    fn routes(self: Arc<Self>) -> Router {
        let count = async |State(counter): State<Arc<Self>>| {
            counter.count.fetch_add(1, Ordering::Relaxed).to_string()
        };
        Router::new().route("/count", get(count)).with_state(self)
    }
}

#[remote(worker = "parts", cpu = Cpu3c_1_2, method = POST, path = "/photos")]
async fn add_photo(agent: TypedHeader<UserAgent>, form: Multipart) -> Result<String> {
    Ok(format!("{}: {}, {} bytes", agent.as_str(), form.text("title")?, form.file("photo")?.data().len()))
}

#[remote(worker = "parts", cpu = Cpu3c_1_2, method = POST, path = "/hook")]
fn hook(request: Request<bytes::Bytes>) -> Result<Response<bytes::Bytes>> {
    let status = if request.headers().contains_key("x-signature") { 202 } else { 401 };
    Ok(Response::builder()
        .status(status)
        .header("x-length", request.body().len())
        .body(request.into_body())?)
}

async fn answer(router: Router, path: &str) -> (StatusCode, String) {
    let response = router.oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    (status, String::from_utf8(to_bytes(response.into_body(), 10_000).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_router_answers_in_process_and_its_calls_run_there() {
    assert_eq!(answer(site().await.unwrap(), "/hello/Ada").await, (StatusCode::OK, "hello, Ada".to_owned()));
    let state = Arc::new(Counter { count: AtomicU32::new(7) });
    assert_eq!(answer(state.routes(), "/count").await, (StatusCode::OK, "7".to_owned()));
}

#[tokio::test]
async fn an_error_of_a_call_is_an_answer_with_its_status() {
    let (status, body) = answer(site().await.unwrap(), "/hello/nobody").await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(body.contains("there is nobody") && body.contains(r#""kind":"handler""#), "{body}");
}

#[tokio::test]
async fn parts_of_a_request_are_plain_arguments_in_process() {
    let agent = || TypedHeader(UserAgent::from_static("test/1"));
    let form = Multipart::new().with_text("title", "A cat").with_file("photo", "cat.jpg", &b"0123456789"[..]);
    assert_eq!(add_photo(agent(), form.clone()).await.unwrap(), "test/1: A cat, 10 bytes");
    assert_eq!(add_photo::options().call((agent(), form)).await.unwrap(), "test/1: A cat, 10 bytes");
    let missing = add_photo(agent(), Multipart::new()).await.unwrap_err();
    assert_eq!((missing.status_code(), missing.message()), (Some(400), "the form has no field `title`"));

    let request =
        |signature: &str| Request::post("/hook").header(signature, "ok").body("event".into()).unwrap();
    let answer = hook(request("x-signature")).await.unwrap();
    assert_eq!((answer.status(), &**answer.body()), (StatusCode::ACCEPTED, &b"event"[..]));
    assert_eq!(answer.headers()["x-length"], "5");
    // As over HTTP, an answer that says no is an error for a caller in Rust.
    let refused = hook(request("x-other")).await.unwrap_err();
    assert_eq!(refused.message(), "HTTP 401: event");
    assert_eq!(hook::local(request("x-other")).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}
