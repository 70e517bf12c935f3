//! Who may see the dashboard: those with a session, which a key opens, and everybody where no key is needed.
//!
//! A browser sends the session by itself, also for a form on a page of another site. Two things prevent that: the cookie
//! is `SameSite=Strict`, and a change must come from a page of the dashboard ([`own_pages_only`]).
use std::sync::Arc;

use axum::{
    Extension, Form, Json,
    extract::{FromRequest as _, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use flash_dashboard::Transport;
use flash_protocol::ErrorKind;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::{
    super::{
        error::Refusal, extract::client_address, keys::KeyHash, opened_by::OpenedBy, state::GatewayState,
    },
    html, to, to_overview,
};

/// Where the key is asked for.
const LOGIN: &str = "/_flash/login";

/// Whether a path needs neither a key nor a session: the page that asks for a key, and its files.
pub(in super::super) fn is_open(path: &str) -> bool {
    path == LOGIN || path.starts_with("/_flash/assets/")
}

/// Sends the browser to the page that asks for a key.
pub(in super::super) fn to_login() -> Response {
    to(LOGIN)
}

/// Whether a request has a session whose key is still accepted.
pub(in super::super) fn has_session(state: &GatewayState, headers: &HeaderMap) -> bool {
    let key = identifier(state, headers).and_then(|identifier| state.dashboard.sessions.key(identifier));
    key.is_some_and(|key| state.access_control.still_admits(key))
}

/// The session that a request presents.
fn identifier<'a>(state: &GatewayState, headers: &'a HeaderMap) -> Option<&'a str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.filter_map(|cookies| state.dashboard.sessions.cookie_of(cookies)).next()
}

/// Refuses changes that do not come from a page of the dashboard.
pub(super) async fn own_pages_only(request: Request, next: Next) -> Response {
    if is_of_own_page(request.headers()) {
        return next.run(request).await;
    }
    let message = "changes are made on the pages of the dashboard; programs use the queue API, with a key";
    Refusal::new(StatusCode::FORBIDDEN, ErrorKind::Refused, message).into_response()
}

/// By the headers that browsers set, and that pages cannot.
fn is_of_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or_default());
    if let Some(site) = text(header::HeaderName::from_static("sec-fetch-site")) {
        return site == "same-origin";
    }
    // Over plain HTTP from another machine, browsers only say where the page is from.
    let page = text(header::ORIGIN).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    page.is_some() && page == text(header::HOST)
}

fn transport(headers: &HeaderMap) -> Transport {
    let protocol = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    match protocol.and_then(|protocols| protocols.split(',').next()).map(str::trim) {
        Some("https") => Transport::Tls,
        _ => Transport::Plain,
    }
}

/// `GET /_flash/login`
pub(super) async fn login_page(State(state): State<Arc<GatewayState>>, headers: HeaderMap) -> Response {
    if state.access_control.hosts_without_key().is_some() || has_session(&state, &headers) {
        return to_overview();
    }
    html(StatusCode::OK, flash_dashboard::login(&state.dashboard.options.place, None))
}

/// What logs a browser in: a key, or a token that stands for one.
#[derive(Deserialize)]
struct Credentials {
    key: Option<String>,
    token: Option<String>,
}

/// `POST /_flash/login`
pub(super) async fn log_in(State(state): State<Arc<GatewayState>>, request: Request) -> Response {
    if state.access_control.hosts_without_key().is_some() {
        return to_overview();
    }
    let (client, headers) = (client_address(&request), request.headers().clone());
    let place = &state.dashboard.options.place;
    let again = |status, problem: &str| html(status, flash_dashboard::login(place, Some(problem)));
    let Ok(Form(Credentials { key, token })) = Form::from_request(request, &()).await else {
        return again(StatusCode::BAD_REQUEST, "The form is not complete.");
    };
    let sessions = &state.dashboard.sessions;
    let admitted = match (token, key.as_deref().map(str::trim)) {
        (Some(token), _) => {
            match sessions.redeem(&token).filter(|key| state.access_control.still_admits(*key)) {
                Some(key) => key,
                None => {
                    return again(
                        StatusCode::UNAUTHORIZED,
                        "This link was used already, or is too old. Enter a key.",
                    );
                }
            }
        }
        (None, Some(key)) if !key.is_empty() => match state.access_control.admits(Some(key), |_| false) {
            Ok(()) => KeyHash::of(key),
            Err(denial) => {
                let refusal = state.access_control.refuse(denial, client, "POST /_flash/login");
                return again(refusal.status(), refusal.message());
            }
        },
        (None, _) => return again(StatusCode::BAD_REQUEST, "Enter a key."),
    };
    with_cookie(to_overview(), &sessions.set_cookie(&sessions.open(admitted), transport(&headers)))
}

/// `POST /_flash/logout`
pub(super) async fn log_out(State(state): State<Arc<GatewayState>>, headers: HeaderMap) -> Response {
    if let Some(identifier) = identifier(&state, &headers) {
        state.dashboard.sessions.close(identifier);
    }
    with_cookie(to_login(), &state.dashboard.sessions.clear_cookie(transport(&headers)))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `POST /_flash/login/token`: a text that logs one browser in, for `flash dashboard`. `null` where no key is needed.
pub(super) async fn token(
    State(state): State<Arc<GatewayState>>,
    opened_by: Option<Extension<OpenedBy>>,
) -> Result<Response, Refusal> {
    let token = match opened_by {
        Some(Extension(OpenedBy(key))) => Some(state.dashboard.sessions.token(key)),
        None if state.access_control.hosts_without_key().is_some() => None,
        None => {
            return Err(Refusal::bad_request("a token is made for a key: send `Authorization: Bearer KEY`"));
        }
    };
    Ok(Json(json!({ "token": token })).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_comes_from_the_dashboards_own_pages() {
        let is_own = |headers: &[(&'static str, &'static str)]| {
            let headers = headers.iter().map(|(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            is_of_own_page(&headers.collect())
        };
        assert!(is_own(&[
            ("sec-fetch-site", "same-origin"),
            ("origin", "https://flash.example"),
            ("host", "10.0.0.7:9000")
        ]));
        assert!(is_own(&[("origin", "http://10.0.0.7:9000"), ("host", "10.0.0.7:9000")]));
        for headers in [
            &[("sec-fetch-site", "cross-site"), ("host", "localhost:8888")][..],
            &[
                ("sec-fetch-site", "same-site"),
                ("origin", "http://localhost:8888"),
                ("host", "localhost:8888"),
            ],
            &[("sec-fetch-site", "none"), ("host", "localhost:8888")],
            &[("origin", "http://localhost:5173"), ("host", "localhost:8888")],
            &[("origin", "null"), ("host", "localhost:8888")],
            &[("host", "localhost:8888")],
            &[],
        ] {
            assert!(!is_own(headers), "{headers:?}");
        }
    }
}
