//! One request at the gateway, until its answer has been sent.
use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::SystemTime,
};

use axum::{body::Body, extract::Request, response::Response};
use bytes::Bytes;
use flash_protocol::wire::identity::TraceParent;
use flash_traces::opentelemetry::{KeyValue, trace::SpanKind};
use http::{HeaderValue, Method, StatusCode};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::{TRACEPARENT, span::Ended, tracer::Traces};

/// The span of a request, while it is answered.
pub(crate) struct RequestSpan {
    traces: Traces,
    own: TraceParent,
    parent: Option<TraceParent>,
    since: SystemTime,
    request_id: String,
    method: Method,
    path: String,
    route: Route,
    status: Option<StatusCode>,
}

/// The path of a request as the app declares it, once that is known. Part of the request's extensions.
#[derive(Clone, Default)]
pub(crate) struct Route(Arc<OnceLock<String>>);

impl Route {
    /// Says which it is, if the request is traced.
    pub(crate) fn say<B>(request: &http::Request<B>, route: impl FnOnce() -> String) {
        if let Some(own) = request.extensions().get::<Self>() {
            own.0.get_or_init(route);
        }
    }
}

impl RequestSpan {
    /// A request begins. From here on it carries this span, so that everything below has it. `None` if its trace is not
    /// sampled, or if it is no request of an app: those of workers and for the platform's own pages would bury the
    /// others.
    pub(crate) fn begin(traces: &Traces, request: &mut Request, request_id: &str) -> Option<Self> {
        let path = request.uri().path();
        if !is_of_app(path) {
            return None;
        }
        let path = path.to_owned();
        let text = request.headers().get(TRACEPARENT).and_then(|value| value.to_str().ok());
        let parent = text.and_then(TraceParent::parse);
        let own = traces.begin(request.method().as_str(), parent.as_ref());
        let value = HeaderValue::from_str(&own).expect("a trace is ASCII");
        request.headers_mut().insert(TRACEPARENT, value);
        if !own.is_sampled() {
            return None;
        }
        let route = Route::default();
        if path.starts_with(QUEUE_API) {
            route.0.get_or_init(|| path.clone());
        } else {
            request.extensions_mut().insert(route.clone());
        }
        Some(Self {
            traces: traces.clone(),
            own,
            parent,
            since: SystemTime::now(),
            request_id: request_id.to_owned(),
            method: request.method().clone(),
            path,
            route,
            status: None,
        })
    }

    /// The head of the answer is there. The span ends with the answer's last byte.
    pub(crate) fn answered(mut self, response: Response) -> Response {
        self.status = Some(response.status());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        response.map(|body| Body::new(Traced { body, _span: self }))
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        let route = self.route.0.get();
        let name = match route {
            Some(route) if route.starts_with(self.method.as_str()) => route.clone(),
            Some(route) => format!("{} {route}", self.method),
            // Paths of which there may be any number are no names.
            None => self.method.to_string(),
        };
        let (own, parent) = (self.own.clone(), self.parent.clone());
        let mut span = Ended::new(name, own, parent, self.since, SystemTime::now());
        span.kind = SpanKind::Server;
        span.attributes = vec![
            KeyValue::new("http.request.method", self.method.to_string()),
            KeyValue::new("url.path", self.path.clone()),
            KeyValue::new("flash.request.id", self.request_id.clone()),
        ];
        if let Some(status) = self.status {
            span.attributes.push(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        }
        span.error = match self.status {
            None => Some("the client disconnected".to_owned()),
            Some(status) => status.is_server_error().then(|| status.to_string()),
        };
        self.traces.ended(span);
    }
}

const QUEUE_API: &str = "/v2/";

/// Whether it is a request to the app: its routes, its functions, and its jobs.
fn is_of_app(path: &str) -> bool {
    let is = |own: &str| path.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(rest) = path.strip_prefix(QUEUE_API) {
        let operation = rest.split('/').nth(1).unwrap_or_default();
        return matches!(operation, "run" | "runsync" | "openai");
    }
    !["/ping", "/docs", "/openapi.json", "/_flash", "/favicon.ico"].iter().any(|own| is(own))
}

/// The body of an answer, with the span of its request.
struct Traced {
    body: Body,
    _span: RequestSpan,
}

impl HttpBody for Traced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_to_the_app_are_traced() {
        for path in
            ["/", "/classify", "/hello/run_sync", "/v2/x/run", "/v2/x/runsync", "/v2/x/openai/v1/models"]
        {
            assert!(is_of_app(path), "{path}");
        }
        for path in
            ["/ping", "/docs/app.js", "/_flash/metrics", "/v2/x/job-take/w", "/v2/x/exchange/w", "/v2/x"]
        {
            assert!(!is_of_app(path), "{path}");
        }
        assert!(is_of_app("/pingpong"));
    }
}
