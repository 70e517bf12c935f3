//! One hop to a load-balanced worker: its wait for a slot, the start of its worker, and itself.
use std::time::{Duration, SystemTime};

use flash_protocol::wire::identity::TraceParent;
use flash_traces::opentelemetry::KeyValue;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{TRACEPARENT, ids::new_span, span::Ended, tracer::Traces};
use crate::worker_id::WorkerId;

/// The span of a request to a worker type, while the request is served.
pub(crate) struct HopSpan {
    traces: Traces,
    own: TraceParent,
    parent: TraceParent,
    since: SystemTime,
    /// What is called, if it is one function.
    function: Option<String>,
    /// How long it waited for a slot, once it has one.
    waited: Option<Duration>,
}

/// How a hop ended.
pub(crate) struct HopEnd<'a> {
    pub worker_type: &'a str,
    pub worker: Option<&'a WorkerId>,
    pub request_id: &'a str,
    pub status: Option<StatusCode>,
    pub cost_nano_dollars: u64,
}

impl HopSpan {
    /// A hop of the trace in these headers; `None` if that is not sampled.
    pub(crate) fn begin(traces: &Traces, headers: &HeaderMap, function: Option<&str>) -> Option<Self> {
        let parent = TraceParent::parse(headers.get(TRACEPARENT)?.to_str().ok()?)?;
        parent.is_sampled().then(|| Self {
            traces: traces.clone(),
            own: parent.with_span(new_span()),
            parent,
            since: SystemTime::now(),
            function: function.map(str::to_owned),
            waited: None,
        })
    }

    /// What the worker gets: it makes its spans below this one.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.own).ok()
    }

    /// Its span, for log lines.
    pub(crate) fn own(&self) -> &TraceParent {
        &self.own
    }

    /// It has a slot, after this time.
    pub(crate) fn waited(&mut self, waited: Duration) {
        self.waited = Some(waited);
    }

    /// It ends now.
    pub(crate) fn end(self, end: &HopEnd<'_>) {
        let Self { traces, own, parent, since, function, waited } = self;
        let until = SystemTime::now();
        let waited_until = waited.map_or(until, |waited| since + waited);
        traces.wait(&own, (since, waited_until), end.worker);
        let name = function.as_deref().unwrap_or(end.worker_type);
        let mut span = Ended::new(format!("request {name}"), own, Some(parent), since, until);
        span.attributes = vec![
            KeyValue::new("flash.request.id", end.request_id.to_owned()),
            KeyValue::new("flash.worker_type", end.worker_type.to_owned()),
        ];
        span.attributes.extend(function.map(|function| KeyValue::new("flash.function", function)));
        span.attributes.extend(end.worker.map(|worker| KeyValue::new("flash.worker", worker.to_string())));
        span.attributes.extend(cost(end.cost_nano_dollars));
        span.error = match end.status {
            None => Some("the client disconnected".to_owned()),
            Some(status) => status.is_server_error().then(|| status.to_string()),
        };
        traces.ended(span);
    }
}

impl Traces {
    /// The wait of a hop, and the start of its worker if that was a part of it.
    pub(super) fn wait(
        &self,
        hop: &TraceParent,
        (since, until): (SystemTime, SystemTime),
        worker: Option<&WorkerId>,
    ) {
        let own = hop.with_span(new_span());
        self.ended(Ended::new("queue wait", own.clone(), Some(hop.clone()), since, until));
        let Some((worker, start)) = worker.and_then(|worker| Some((worker, self.start_of(worker)?))) else {
            return;
        };
        // A worker that was ready before made nobody wait. Its start may have begun earlier than the wait.
        if start.until > since && start.since < until {
            let id = hop.with_span(new_span());
            let mut span = Ended::new("worker start", id, Some(own), start.since, start.until);
            span.attributes = vec![KeyValue::new("flash.worker", worker.to_string())];
            self.ended(span);
        }
    }
}

/// What it cost, if it has a price.
pub(super) fn cost(nano_dollars: u64) -> Option<KeyValue> {
    let cost = i64::try_from(nano_dollars).ok().filter(|cost| *cost > 0)?;
    Some(KeyValue::new("flash.cost_nano_dollars", cost))
}
