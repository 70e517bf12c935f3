//! Access control of requests: a key if one is set, and no requests from web pages of other sites.
//!
//! The worker API has its own keys, which its handlers check. `access_control` decides and answers failed attempts,
//! `request_key` finds the key in a request, and `hosts` decides who needs no key.
use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::Method;

use super::{
    dashboard,
    error::Refusal,
    extract::client_address,
    hosts,
    keys::KeyHash,
    metrics,
    opened_by::OpenedBy,
    queue_api::{self, Caller},
    request_key,
    state::GatewayState,
};

/// Maximum length of a path in a log line, because clients choose it.
const MAX_PATH: usize = 100;

/// Lets an allowed request through, with its key removed.
pub(super) async fn check(state: &GatewayState, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if queue_api::caller(path) == Some(Caller::Worker) || path == "/ping" {
        return next.run(request).await;
    }
    let opened = match admitted(state, &request) {
        Ok(opened) => opened.map(str::to_owned),
        Err(_) if leads_to_login(state, &request) => return dashboard::to_login(),
        Err(refusal) => return refusal.into_response(),
    };
    if let Some(key) = &opened {
        request.extensions_mut().insert(OpenedBy(KeyHash::of(key)));
    }
    let is_key = |given: &str| state.access_control.is_key(given) || state.releases.is_key_of_a_worker(given);
    request_key::take_out(&mut request, opened.as_deref(), is_key);
    next.run(request).await
}

/// Whether a browser asks for a page of the dashboard, or for the root, where the app has nothing.
fn leads_to_login(state: &GatewayState, request: &Request) -> bool {
    let path = request.uri().path();
    let has_root = || {
        let live = state.releases.live();
        live.is_some_and(|live| live.routes.find(&Method::GET, "/").is_ok())
    };
    dashboard::is_for_browser(request.method(), request.headers())
        && request_key::key_of(request.headers()).is_none()
        && (dashboard::is_below(path) || (path == "/" && !has_root()))
}

/// Whether the platform itself answers with its metrics: the app has nothing there.
fn asks_for_metrics(state: &GatewayState, request: &Request) -> bool {
    let path = request.uri().path();
    path == metrics::PATH
        && state.releases.live().is_none_or(|live| live.routes.find(request.method(), path).is_err())
}

/// The accepted key, if a key is required.
fn admitted<'a>(state: &GatewayState, request: &'a Request) -> Result<Option<&'a str>, Refusal> {
    let path = request.uri().path();
    let control = &state.access_control;
    if let Some(allowed) = control.hosts_without_key() {
        return hosts::check(request, allowed).map(|()| None);
    }
    let given = request_key::key_of(request.headers());
    let may_come_by_session = given.is_none() && dashboard::is_below(path);
    if dashboard::is_open(path) || (may_come_by_session && dashboard::has_session(state, request.headers())) {
        return Ok(None);
    }
    // A worker may call other functions with its key, but nothing else.
    let is_call = !path.starts_with("/_flash/")
        && queue_api::caller(path) != Some(Caller::Client)
        && !asks_for_metrics(state, request);
    match control.admits(given, |key| is_call && state.releases.is_key_of_a_worker(key)) {
        Ok(()) => Ok(given),
        Err(denial) => {
            let asked: String = path.chars().take(MAX_PATH).collect();
            Err(control.refuse(denial, client_address(request), &format!("{} {asked}", request.method())))
        }
    }
}
