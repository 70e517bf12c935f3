//! Access control of requests: a key if one is set, and no requests from web pages of other sites.
//!
//! The worker API has its own keys, which its handlers check. `access_control` decides and answers failed attempts,
//! `request_key` finds the key in a request, and `hosts` decides who needs no key.
use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use super::{
    error::Refusal,
    extract::client_address,
    hosts,
    queue_api::{self, Caller},
    request_key,
    state::GatewayState,
};

/// Maximum length of a path in a log line, because clients choose it.
const MAX_PATH: usize = 100;

/// Lets an allowed request through, with its key removed.
pub(super) async fn check(
    State(state): State<Arc<GatewayState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path();
    if queue_api::caller(path) == Some(Caller::Worker) || path == "/ping" {
        return next.run(request).await;
    }
    let opened = match admitted(&state, &request) {
        Ok(opened) => opened.map(str::to_owned),
        Err(refusal) => return refusal.into_response(),
    };
    let is_key = |given: &str| state.access_control.is_key(given) || state.releases.is_key_of_a_worker(given);
    request_key::take_out(&mut request, opened.as_deref(), is_key);
    next.run(request).await
}

/// The accepted key, if a key is required.
fn admitted<'a>(state: &GatewayState, request: &'a Request) -> Result<Option<&'a str>, Refusal> {
    let path = request.uri().path();
    let control = &state.access_control;
    if let Some(allowed) = control.hosts_without_key() {
        return hosts::check(request, allowed).map(|()| None);
    }
    let given = request_key::key_of(request.headers());
    // A worker may call other functions with its key, but nothing else.
    let is_call = !path.starts_with("/_flash/") && queue_api::caller(path) != Some(Caller::Client);
    match control.admits(given, |key| is_call && state.releases.is_key_of_a_worker(key)) {
        Ok(()) => Ok(given),
        Err(denial) => {
            let asked: String = path.chars().take(MAX_PATH).collect();
            Err(control.refuse(denial, client_address(request), &format!("{} {asked}", request.method())))
        }
    }
}
