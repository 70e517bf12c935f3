//! Where the first processes of pods join: the connection is handed to whoever started the pod.
use std::sync::Arc;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use flash_protocol::{ErrorKind, wire::pod::PROTOCOL};
use http::{HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;

use super::{error::Refusal, extract::Segments, state::GatewayState, worker_key::key_in};

pub(super) async fn join(
    State(state): State<Arc<GatewayState>>,
    // An id is of one endpoint only.
    Segments((_, id)): Segments<(String, String)>,
    mut request: Request,
) -> Result<Response, Refusal> {
    if !state.pods.admits(&id, key_in(request.headers())) {
        // Also if there is no such pod, so that nobody can find out which there are.
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            ErrorKind::Refused,
            "wrong key for this pod, or it has joined already",
        ));
    }
    if request.headers().get(header::UPGRADE).is_none_or(|protocol| protocol != PROTOCOL) {
        return Err(Refusal::bad_request(format!("expected `Upgrade: {PROTOCOL}`")));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    let pods = state.pods.clone();
    state.tasks.spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            pods.join(&id, Box::new(TokioIo::new(upgraded)));
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("upgrade")),
        (header::UPGRADE, HeaderValue::from_static(PROTOCOL)),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
