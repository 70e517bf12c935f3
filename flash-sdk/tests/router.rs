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
    http::{Request, StatusCode},
    routing::get,
};
use flash_sdk::{Error, Result, remote};
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
