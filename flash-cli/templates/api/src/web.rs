//! The router: what clients reach over HTTP.
use std::collections::BTreeMap;

use flash_sdk::{
    Result,
    axum::{
        Json, Router,
        body::Body,
        extract::Path,
        routing::{get, post},
    },
    remote,
    stream::{self, StreamExt as _},
};
use serde::Deserialize;

use crate::text::count;

/// What `POST /words` takes.
#[derive(Deserialize)]
struct Text {
    text: String,
}

/// All routes. Extractors, middleware, WebSockets and static files work as in any axum router.
#[remote(worker = "web", cpu = Cpu3c_1_2, workers = 1..=2, http)]
pub fn web() -> Router {
    Router::new().route("/words", post(words)).route("/countdown/{from}", get(countdown))
}

/// Counts words, on a worker of the type `counter`. Its errors reach the client with their status.
async fn words(Json(Text { text }): Json<Text>) -> Result<Json<BTreeMap<String, u32>>> {
    Ok(Json(count(text).await?))
}

/// A body that is sent piece by piece.
async fn countdown(Path(from): Path<u8>) -> Body {
    Body::from_stream(stream::iter((0..=from).rev()).map(|number| Ok::<_, flash_sdk::Error>(format!("{number}\n"))))
}
