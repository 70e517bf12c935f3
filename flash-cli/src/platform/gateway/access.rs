//! Who may ask: a key where one is set, and no web pages of strangers.
//!
//! The worker API has keys of its own and is left to `worker_api`.
use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, Uri, header};

use super::{
    error::Refusal,
    keys::{Access, Owner},
};
use crate::platform::Platform;

/// Operations of the worker API, by the third segment of their path.
const WORKER_API: [&str; 7] =
    ["exchange", "job-take", "job-take-batch", "job-stop", "job-done", "job-stream", "ping"];

/// Operations of the client API that look at or change a whole endpoint.
const OVERVIEW: [&str; 4] = ["purge-queue", "requests", "metrics", "dead"];

/// Lets a request through that may come in.
pub(super) async fn check(State(platform): State<Platform>, request: Request, next: Next) -> Response {
    match admitted(&platform, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn admitted(platform: &Platform, request: &Request) -> Result<(), Refusal> {
    let path = request.uri().path();
    let operation = path.strip_prefix("/v2/").and_then(|rest| rest.split('/').nth(1));
    if operation.is_some_and(|operation| WORKER_API.contains(&operation)) || path == "/ping" {
        return Ok(());
    }
    let access = &platform.shared.access;
    if matches!(access, Access::Open) {
        return from_here(request, platform.shared.address.ip().is_loopback());
    }
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(given) = given.map(|given| given.strip_prefix("Bearer ").unwrap_or(given).trim()) else {
        return Err(unauthorized("no key: send `Authorization: Bearer KEY`"));
    };
    let owner = match access {
        Access::Open => Owner::Own,
        Access::Key(key) if key.opens(given) => Owner::Own,
        Access::Key(_) => Owner::Nobody,
        Access::Ring(ring) => ring.owner(given),
    };
    // A worker calls other functions with its own key, and sees to nothing else.
    let is_call = !path.starts_with("/_flash/") && !operation.is_some_and(|own| OVERVIEW.contains(&own));
    if owner == Owner::Own || (is_call && platform.is_key_of_a_worker(given)) {
        return Ok(());
    }
    Err(unauthorized("the key is not the one that this platform was started with"))
}

fn unauthorized(message: &str) -> Refusal {
    Refusal::new(StatusCode::UNAUTHORIZED, flash_sdk::ErrorKind::Refused, message)
}

/// Without a key, whoever reaches the port may ask. A browser reaches it for any page that it shows, so a
/// page from elsewhere is refused: one that says so (`Origin`), and on loopback also one whose own name was
/// pointed at this machine (`Host`).
fn from_here(request: &Request, on_loopback: bool) -> Result<(), Refusal> {
    let headers = request.headers();
    let asked = asked_host(headers);
    let is_known_here = !on_loopback || asked.is_none_or(is_this_machine);
    let origin = headers.get(header::ORIGIN).map(|origin| origin.to_str().unwrap_or_default());
    let is_own_page = origin.is_none_or(|origin| {
        let origin = origin.parse::<Uri>().ok();
        let host = origin.as_ref().and_then(Uri::host);
        host.is_some_and(|host| is_this_machine(host) || asked == Some(host))
    });
    if is_known_here && is_own_page {
        return Ok(());
    }
    let message = "a web page from elsewhere may not ask: set FLASH_API_KEY and send it as a bearer token";
    Err(Refusal::new(StatusCode::FORBIDDEN, flash_sdk::ErrorKind::Refused, message))
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || host.ends_with(".localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// The host that the client asked for, without its port.
fn asked_host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    // An IPv6 address has colons of its own, inside of brackets.
    let end = host.rfind(']').map_or_else(|| host.find(':'), |bracket| Some(bracket + 1));
    end.map_or(Some(host), |end| host.get(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = http::Request::builder().uri("/v2/x/run");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(axum::body::Body::empty()).unwrap()
    }

    #[test]
    fn pages_from_elsewhere_are_refused_and_everything_else_may_ask() {
        let allowed = [
            &[][..],
            &[("origin", "http://localhost:5173"), ("host", "localhost:8888")],
            &[("origin", "http://127.0.0.1:8888")],
            &[("origin", "http://[::1]:8888"), ("host", "[::1]:8888")],
        ];
        for headers in allowed {
            assert!(from_here(&request(headers), true).is_ok(), "{headers:?}");
        }
        let elsewhere = [("origin", "https://box.lan"), ("host", "box.lan:8888")];
        assert!(from_here(&request(&elsewhere), false).is_ok(), "opened to the network, asked by its name");
        assert!(from_here(&request(&elsewhere), true).is_err(), "a name that was pointed at loopback");
        assert!(from_here(&request(&elsewhere[1..]), true).is_err());
        for origin in ["https://evil.example", "null", "https://localhost.evil.example", "http://10.0.0.1"] {
            let headers = [("origin", origin), ("host", "localhost:8888")];
            assert!(from_here(&request(&headers), true).is_err(), "{origin}");
        }
    }
}
