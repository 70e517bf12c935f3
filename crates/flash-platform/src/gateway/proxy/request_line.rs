//! The log line of each request to a load-balanced worker, written when the request has ended. It is counted then, too.
//!
//! Requests to the queue API have the log lines of their jobs.
use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::extract::Request;
use flash_protocol::{GenerationsByModel, catalogue::NanoDollars};
use http::StatusCode;

use crate::{
    pool::Pool,
    traces::{HopEnd, HopSpan, ids_of},
    worker_id::WorkerId,
};

/// Characters of a path: clients choose it.
const MAX_PATH: usize = 200;

/// The line of one request. Whichever way the request ends, dropping this writes it.
pub(super) struct RequestLine {
    pool: Arc<Pool>,
    request_id: String,
    asked: Asked,
    since: Instant,
    pub worker: Option<WorkerId>,
    /// `None` while there is no answer, and if the client disconnects before.
    pub status: Option<StatusCode>,
    pub cost: NanoDollars,
    /// What models did for it.
    pub models: GenerationsByModel,
    /// If its trace is sampled.
    pub span: Option<HopSpan>,
}

impl RequestLine {
    pub(super) fn new(pool: &Arc<Pool>, request_id: &str, function: Option<&str>, request: &Request) -> Self {
        let headers = request.headers();
        let span = pool.traces.as_ref().and_then(|traces| HopSpan::begin(traces, headers, function));
        Self {
            span,
            pool: pool.clone(),
            request_id: request_id.to_owned(),
            asked: Asked::of(request),
            since: Instant::now(),
            worker: None,
            status: None,
            cost: NanoDollars(0),
            models: GenerationsByModel::new(),
        }
    }

    /// It has a slot, after this time.
    pub(super) fn waited(&mut self, waited: Duration) {
        if let Some(span) = &mut self.span {
            span.waited(waited);
        }
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        self.pool.tally().answers.count(self.status);
        let ending =
            Ending { status: self.status, ms: self.since.elapsed().as_secs_f64() * 1000.0, cost: self.cost };
        let models: String = self.models.values().map(|of| format!(", {}", of.line())).collect();
        let text = format!("{} {ending}{models}", self.asked);
        let span = self.span.as_ref().map(|span| ids_of(span.own()));
        self.pool.say_end_of_request(self.worker.as_ref(), &self.request_id, span, text);
        if let Some(span) = self.span.take() {
            span.end(&HopEnd {
                worker_type: &self.pool.worker_type.name,
                worker: self.worker.as_ref(),
                request_id: &self.request_id,
                status: self.status,
                cost_nano_dollars: self.cost.0,
            });
        }
    }
}

/// Method and path. The query stays out: it may hold secrets.
struct Asked {
    method: http::Method,
    path: String,
    is_cut: bool,
}

impl Asked {
    fn of<B>(request: &http::Request<B>) -> Self {
        let path = request.uri().path();
        // A URI only contains ASCII and complete characters above it.
        let shown: String = path.chars().take(MAX_PATH).collect();
        Self { method: request.method().clone(), is_cut: shown.len() < path.len(), path: shown }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.path, if self.is_cut { "…" } else { "" })
    }
}

struct Ending {
    status: Option<StatusCode>,
    ms: f64,
    /// 0 if its worker type has no price.
    cost: NanoDollars,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => write!(f, "{} in {:.2} ms", status.as_u16(), self.ms)?,
            None => write!(f, "ended without an answer after {:.2} ms: the client disconnected", self.ms)?,
        }
        if self.cost.0 > 0 { write!(f, ", {}", self.cost) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(uri: &str) -> String {
        Asked::of(&http::Request::post(uri).body(()).unwrap()).to_string()
    }

    #[test]
    fn the_line_names_method_and_path_and_leaves_the_query_out() {
        assert_eq!(asked("/classify?token=secret"), "POST /classify");
        let long = asked(&format!("/{}", "a".repeat(5000)));
        assert_eq!(long.chars().count(), "POST ".len() + MAX_PATH + 1);
    }

    #[test]
    fn the_line_ends_with_status_time_and_cost() {
        let ending = |status, cost| Ending { status, ms: 12.345, cost: NanoDollars(cost) }.to_string();
        assert_eq!(ending(Some(StatusCode::OK), 120), "200 in 12.35 ms, $0.000000120");
        assert_eq!(ending(Some(StatusCode::NOT_FOUND), 0), "404 in 12.35 ms");
        assert_eq!(ending(None, 0), "ended without an answer after 12.35 ms: the client disconnected");
    }
}
