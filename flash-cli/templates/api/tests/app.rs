//! The router in process: what other workers do is faked, or runs here.
use std::collections::BTreeMap;

use flash_sdk::{
    Error, Result,
    axum::{
        body::{Body, to_bytes},
        http::{Request, StatusCode, header},
    },
    testing::fake,
};
use ::{{crate}}::{text::count, web::web};
use tower::ServiceExt as _;

/// The status and the body of the answer.
async fn answer(request: Request<Body>) -> (StatusCode, String) {
    let response = web().oneshot(request).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), 1_000_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

fn words(text: &str) -> Request<Body> {
    let request = Request::post("/words").header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(format!(r#"{{"text": "{text}"}}"#))).unwrap()
}

#[flash_sdk::test]
async fn words_are_counted() {
    assert_eq!(answer(words("to be or not to be")).await, (StatusCode::OK, r#"{"be":2,"not":1,"or":1,"to":2}"#.to_owned()));
}

#[flash_sdk::test]
async fn an_error_of_the_worker_keeps_its_status() {
    fake(count, |_| async { Err::<BTreeMap<String, u32>, _>(Error::status(402, "pay first")) });
    assert_eq!(answer(words("to be")).await.0, StatusCode::PAYMENT_REQUIRED);
}

#[flash_sdk::test]
async fn a_countdown_ends_at_zero() -> Result<()> {
    let request = Request::get("/countdown/2").body(Body::empty()).unwrap();
    assert_eq!(answer(request).await, (StatusCode::OK, "2\n1\n0\n".to_owned()));
    Ok(())
}
