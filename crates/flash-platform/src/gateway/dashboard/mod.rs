//! The dashboard: fills its pages from what the platform knows, and sends them.
//!
//! How a page looks, and what a session is, belongs to `flash-dashboard`; here is who may see it (`session`), what it shows
//! (a file for each page) and what its buttons do (`changes`). Nothing is computed here that a command shows too: both
//! read the same.
mod changes;
mod costs;
mod failed;
mod frame;
mod logs;
mod models;
mod overview;
mod releases;
mod request;
mod requests;
mod schedules;
mod session;
mod trail;
mod workers;

use std::sync::Arc;

use axum::{
    Router,
    middleware::from_fn,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use flash_dashboard::ROOT;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::{error::Refusal, extract::Segments, readable, state::GatewayState};
pub(super) use session::{has_session, is_open, to_login};

/// Paths that only change something, by their beginning.
const CHANGES: [&str; 5] =
    ["/_flash/jobs/", "/_flash/rollback/", "/_flash/run/", "/_flash/schedules/", "/_flash/logout"];

/// All paths of the dashboard.
pub(super) fn router() -> Router<Arc<GatewayState>> {
    let by_forms = Router::new()
        .route("/_flash/logout", post(session::log_out))
        .route("/_flash/jobs/{worker_type}/requeue", post(changes::requeue_all))
        .route("/_flash/jobs/{worker_type}/{job}/cancel", post(changes::cancel))
        .route("/_flash/jobs/{worker_type}/{job}/retry", post(changes::retry))
        .route("/_flash/jobs/{worker_type}/{job}/requeue", post(changes::requeue))
        .route("/_flash/run/{worker_type}", post(changes::run))
        .route("/_flash/schedules/{function}/run", post(changes::run_schedule))
        .route("/_flash/schedules/{function}/pause", post(changes::pause_schedule))
        .route("/_flash/schedules/{function}/resume", post(changes::resume_schedule))
        .route("/_flash/rollback/{number}", post(releases::roll_back))
        .route("/_flash/login", post(session::log_in))
        .layer(from_fn(session::own_pages_only));
    Router::new()
        .route("/_flash", get(async || to_overview()))
        .route("/_flash/", get(overview::page))
        .route("/_flash/requests", get(requests::page))
        .route("/_flash/requests/{request_id}", get(request::page_or_costs))
        .route("/_flash/workers", get(workers::page))
        .route("/_flash/logs", get(logs::page).post(readable::logs))
        .route("/_flash/logs/follow", get(logs::follow))
        .route("/_flash/costs", get(costs::page))
        .route("/_flash/failed", get(failed::page))
        .route("/_flash/schedules", get(schedules::page))
        .route("/_flash/models", get(models::page))
        .route("/_flash/releases", get(releases::page))
        .route("/_flash/releases/{number}", get(releases::way_back))
        .route("/_flash/login", get(session::login_page))
        .route("/_flash/login/token", post(session::token))
        .route("/_flash/assets/{file}", get(asset))
        .merge(by_forms)
}

/// The methods of a path of the dashboard; `None` for one that is only read.
pub(super) fn allowed_methods(path: &str) -> Option<&'static str> {
    match path {
        "/_flash/login" | "/_flash/logs" => Some("GET, HEAD, POST"),
        "/_flash/login/token" => Some("POST"),
        _ => CHANGES.iter().any(|start| path.starts_with(start)).then_some("POST"),
    }
}

/// Whether a path belongs to the dashboard, or to what else the platform has beside it.
pub(super) fn is_below(path: &str) -> bool {
    path == ROOT.trim_end_matches('/') || path.starts_with(ROOT)
}

/// Whether somebody looks at it, rather than a program.
pub(super) fn is_for_browser(method: &Method, headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    *method == Method::GET && accepted.into_iter().any(|kinds| kinds.contains("text/html"))
}

/// Sends the browser to the first page.
pub(super) fn to_overview() -> Response {
    to(ROOT)
}

/// Sends the browser to a page. It asks for it with GET, whatever the request was.
fn to(path: &str) -> Response {
    let place = HeaderValue::from_str(path).unwrap_or_else(|_| HeaderValue::from_static(ROOT));
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}

/// A page.
fn html(status: StatusCode, text: String) -> Response {
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = (status, [(header::CONTENT_TYPE, content_type)], text).into_response();
    for (name, value) in flash_dashboard::PAGE_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A page that says why there is no other.
fn refused(state: &GatewayState, headers: &HeaderMap, title: &str, refusal: &Refusal) -> Response {
    let frame = frame::frame(state, headers);
    html(refusal.status(), flash_dashboard::message(&frame, title, refusal.message()))
}

async fn asset(Segments(name): Segments<String>) -> Result<Response, Refusal> {
    let asset = flash_dashboard::asset(&name);
    let asset = asset.ok_or_else(|| Refusal::not_found("the dashboard has no such file"))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.content_type)),
        // It changes with the program; a copy is asked about each time.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((headers, asset.content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_told_from_a_program_by_what_it_accepts() {
        let accepts = |method: Method, accept: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            is_for_browser(&method, &headers)
        };
        assert!(accepts(Method::GET, "text/html,application/xhtml+xml,*/*;q=0.8"));
        assert!(!accepts(Method::GET, "*/*") && !accepts(Method::GET, "application/json"));
        assert!(!accepts(Method::POST, "text/html"));
        assert!(!is_for_browser(&Method::GET, &HeaderMap::new()));
    }

    #[test]
    fn the_methods_of_a_path_are_those_of_its_route() {
        let methods = ["/_flash/logs", "/_flash/jobs/gpu/7/cancel", "/_flash/login/token", "/_flash/"]
            .map(allowed_methods);
        assert_eq!(methods, [Some("GET, HEAD, POST"), Some("POST"), Some("POST"), None]);
        assert!(is_below("/_flash") && is_below("/_flash/x") && !is_below("/_flashy"));
    }
}
