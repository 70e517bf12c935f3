//! Requests of OpenAI's API that come as jobs.
//!
//! Runpod makes a job of a request to `/v2/ENDPOINT_ID/openai/v1/…` of a queue endpoint, with the path and the body as its
//! input. What the worker streams is the answer: server-sent events as they are, or one value of JSON.
use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use futures_util::{StreamExt as _, future, stream};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::{error::ApiError, model::BoxStream};

/// Models that answer jobs. Cheap to clone.
///
/// A function on a worker type with a queue takes the two fields that Runpod sends and streams the answer:
///
/// ```
/// # use flash_openai::Jobs;
/// # use futures_util::Stream;
/// # use serde_json::Value;
/// # struct Chat { jobs: Jobs }
/// # impl Chat {
/// pub fn openai(&self, openai_route: String, openai_input: Option<Value>) -> impl Stream<Item = Value> + Send + use<> {
///     self.jobs.answer(&openai_route, openai_input)
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Jobs {
    router: Router,
}

impl Jobs {
    pub(crate) fn new(router: Router) -> Self {
        // Jobs have limits of their own, and the body is in memory already.
        Self { router: router.layer(axum::extract::DefaultBodyLimit::disable()) }
    }

    /// The answer to a request: the text of each server-sent event, or one value. Without a body it is a GET. An error is
    /// a value in OpenAI's shape. Dropping the stream cancels the generation.
    pub fn answer(&self, route: &str, body: Option<Value>) -> BoxStream<'static, Value> {
        let (method, body) = match body {
            None | Some(Value::Null) => (Method::GET, Body::empty()),
            Some(body) => (Method::POST, Body::from(body.to_string())),
        };
        let request = match Request::builder().method(method).uri(route).body(body) {
            Ok(request) => request,
            Err(_) => return stream::once(future::ready(ApiError::unknown_path(route).body())).boxed(),
        };
        let router = self.router.clone();
        stream::once(async move {
            let Ok(response) = router.oneshot(request).await;
            let is_stream =
                response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
            let body = response.into_body();
            match is_stream {
                true => events(body),
                false => stream::once(whole(body)).boxed(),
            }
        })
        .flatten()
        .boxed()
    }
}

/// Each frame is a whole event.
fn events(body: Body) -> BoxStream<'static, Value> {
    let text = |frame: Result<bytes::Bytes, axum::Error>| {
        let frame = frame.ok()?;
        Some(Value::String(String::from_utf8_lossy(&frame).into_owned()))
    };
    body.into_data_stream().filter_map(move |frame| future::ready(text(frame))).boxed()
}

async fn whole(body: Body) -> Value {
    // It is in memory already, and JSON if there is any.
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    serde_json::from_slice(&body).unwrap_or(Value::Null)
}
