//! Views of one job: `status`, `status-sync`, `stream`.
use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, header};

use super::{
    super::{
        error::Refusal,
        extract::{Parameters, Segments},
        respond::{job_response, json_text},
        state::GatewayState,
    },
    find::{no_such_job, queue_with},
    wait::{WAIT, Wait},
};
use crate::queue::{JobId, Queue, Stream};

/// How long `stream` waits by default: less than the 10 s of the official client.
const STREAM_HOLD: Duration = Duration::from_secs(2);
/// The interval of keep-alive comments on a stream of events.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

pub(in super::super) async fn status(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, job)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    let (queue, id) = queue_with(&state, &endpoint, &job)?;
    let found = queue.status(id).await?.ok_or_else(|| no_such_job(&endpoint, &job))?;
    job_response(&found)
}

/// Like `status`, but waits until the job has ended or the wait is over.
pub(in super::super) async fn status_sync(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, job)): Segments<(String, String)>,
    Parameters(wait): Parameters<Wait>,
) -> Result<Response, Refusal> {
    let (queue, id) = queue_with(&state, &endpoint, &job)?;
    let found = queue.final_status(id, wait.bounded()).await?.ok_or_else(|| no_such_job(&endpoint, &job))?;
    job_response(&found)
}

pub(in super::super) async fn stream(
    State(state): State<Arc<GatewayState>>,
    Segments((endpoint, job)): Segments<(String, String)>,
    Parameters(Wait { wait }): Parameters<Wait>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (queue, id) = queue_with(&state, &endpoint, &job)?;
    if accepts_events(&headers) {
        return Ok(events(queue, id));
    }
    let hold = wait.map_or(STREAM_HOLD, |wait| Duration::from_millis(wait.min(WAIT.1)));
    let news = queue.stream(id, hold).await?.ok_or_else(|| no_such_job(&endpoint, &job))?;
    let mut text = format!("{{\"status\":\"{}\",\"stream\":[", news.status.as_str());
    for (index, chunk) in news.chunks.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        text.push_str(&format!("{comma}{{\"output\":{}}}", chunk.to_json().get()));
    }
    text.push_str("]}");
    Ok(json_text(text))
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|kind| {
        kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
    })
}

/// Whether more events follow.
enum Continuation {
    More,
    End,
}

/// Chunks as server-sent events: a `data` line each, then one event `end` with the job.
fn events(queue: Arc<Queue>, id: JobId) -> Response {
    let next = move |before: Continuation| {
        let queue = queue.clone();
        async move {
            if let Continuation::End = before {
                return None;
            }
            let (text, continuation) = match queue.stream(id, KEEP_ALIVE).await {
                Ok(Some(news)) => event_text(&queue, id, news).await,
                // The job is gone or cannot be stored now: the client asks again and gets the reason.
                Ok(None) | Err(_) => ("event: gone\ndata: {}\n\n".to_owned(), Continuation::End),
            };
            Some((Ok::<_, std::convert::Infallible>(Bytes::from(text)), continuation))
        }
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(stream::unfold(Continuation::More, next))).into_response()
}

/// The events of some news, and whether more will come.
async fn event_text(queue: &Queue, id: JobId, news: Stream) -> (String, Continuation) {
    // JSON text from serde has no line breaks; text from a worker may.
    let line = |json: &str| json.replace(['\n', '\r'], " ");
    let mut text = String::new();
    for chunk in &news.chunks {
        text.push_str(&format!("data: {{\"output\":{}}}\n\n", line(chunk.to_json().get())));
    }
    if !news.status.is_final() {
        // A comment keeps the connection alive where nothing happened.
        let idle = if text.is_empty() { ":\n\n" } else { "" };
        return (text + idle, Continuation::More);
    }
    let job = queue.status(id).await.ok().flatten();
    let job = job.and_then(|job| serde_json::to_string(&job).ok()).unwrap_or_else(|| "{}".to_owned());
    text.push_str(&format!("event: end\ndata: {}\n\n", line(&job)));
    (text, Continuation::End)
}
