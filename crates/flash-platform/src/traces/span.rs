//! What all spans of the platform have in common.
use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use flash_protocol::wire::identity::TraceParent;
use flash_traces::{
    opentelemetry::{
        KeyValue,
        trace::{Link, SpanId, SpanKind, Status},
    },
    opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks},
};

use super::{
    ids::{local, span_id},
    tracer::Traces,
};

/// A span that has ended. All of its trace are sampled.
pub(super) struct Ended {
    pub name: Cow<'static, str>,
    pub kind: SpanKind,
    /// The ID of the span, and its trace.
    pub own: TraceParent,
    /// `None` for the root of a trace.
    pub parent: Option<TraceParent>,
    pub since: SystemTime,
    pub until: SystemTime,
    pub attributes: Vec<KeyValue>,
    /// Spans that it is about but not below.
    pub links: Vec<Link>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Ended {
    /// One of the platform's own work, with nothing but the necessary.
    pub(super) fn new(
        name: impl Into<Cow<'static, str>>,
        own: TraceParent,
        parent: Option<TraceParent>,
        since: SystemTime,
        until: SystemTime,
    ) -> Self {
        Self {
            name: name.into(),
            kind: SpanKind::Internal,
            own,
            parent,
            since,
            // The clock may have been set back meanwhile.
            until: until.max(since),
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
        }
    }
}

impl Traces {
    /// Takes a span that has ended. Does not wait.
    pub(super) fn ended(&self, span: Ended) {
        let Ended { name, kind, own, parent, since, until, attributes, links, error } = span;
        let mut span_links = SpanLinks::default();
        span_links.links = links;
        self.send(SpanData {
            span_context: local(&own),
            parent_span_id: parent.as_ref().map_or(SpanId::INVALID, span_id),
            parent_span_is_remote: parent.is_some() && kind == SpanKind::Server,
            span_kind: kind,
            name,
            start_time: since,
            end_time: until,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: span_links,
            status: error.map_or(Status::Unset, Status::error),
            instrumentation_scope: self.scope(),
        });
    }
}

/// A link to a span, with the reason.
pub(super) fn link(to: &TraceParent, reason: &'static str) -> Link {
    Link::new(local(to), vec![KeyValue::new("flash.link", reason)], 0)
}

/// This long before.
pub(super) fn before(at: SystemTime, time: Duration) -> SystemTime {
    at.checked_sub(time).unwrap_or(at)
}
