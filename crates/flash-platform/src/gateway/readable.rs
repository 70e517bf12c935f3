//! What `flash call` and `flash logs` read from a running `flash run`: the manifest of the live release, and the log.
//!
//! Only a platform with [`Options::readable_log`](crate::Options::readable_log) has them.
use std::{io, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flash_logs::{LogQuery, LogStore};
use futures_util::StreamExt as _;

use super::{error::Refusal, state::GatewayState};

/// Lines that are sent together.
const TOGETHER: usize = 256;

fn readable(state: &GatewayState) -> Result<&LogStore, Refusal> {
    state.readable_log.as_ref().ok_or_else(|| {
        Refusal::not_found(
            "only `flash run` has this address; for an environment, use flash call and flash logs",
        )
    })
}

/// The manifest of the live release.
pub(super) async fn manifest(State(state): State<Arc<GatewayState>>) -> Result<Response, Refusal> {
    readable(&state)?;
    Ok(Json(&state.live()?.manifest).into_response())
}

/// Lines of the log, each as one line of JSON. Ends with the platform.
pub(super) async fn logs(
    State(state): State<Arc<GatewayState>>,
    Json(query): Json<LogQuery>,
) -> Result<Response, Refusal> {
    let records = readable(&state)?.query(&query).map_err(|error| Refusal::bad_request(error.to_string()))?;
    let chunks = records.ready_chunks(TOGETHER).map(|records| {
        let mut text = Vec::new();
        for record in records {
            serde_json::to_writer(&mut text, &record?).map_err(io::Error::from)?;
            text.push(b'\n');
        }
        Ok::<_, io::Error>(Bytes::from(text))
    });
    let until_the_end = chunks.take_until(state.closing.clone().cancelled_owned());
    Ok(Response::new(Body::from_stream(until_the_end)))
}
