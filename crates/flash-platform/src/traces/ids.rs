//! IDs of traces and spans in the forms of others.
use flash_logs::SpanIds;
use flash_protocol::wire::identity::TraceParent;
use flash_traces::opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

/// The span of a log line.
pub(crate) fn ids_of(span: &TraceParent) -> SpanIds {
    SpanIds { trace_id: span.trace().to_owned(), span_id: span.span().to_owned() }
}

/// The ID of a trace.
pub(super) fn trace_of(parent: &TraceParent) -> u128 {
    u128::from_str_radix(parent.trace(), 16).unwrap_or_default()
}

/// A new ID of a span.
pub(super) fn new_span() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().1
}

/// The ID of a span.
pub(super) fn span_id(of: &TraceParent) -> SpanId {
    SpanId::from(u64::from_str_radix(of.span(), 16).unwrap_or_default())
}

fn context(of: &TraceParent, is_remote: bool) -> SpanContext {
    let flags = if of.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    SpanContext::new(TraceId::from(trace_of(of)), span_id(of), flags, is_remote, TraceState::NONE)
}

/// A span of this platform.
pub(super) fn local(of: &TraceParent) -> SpanContext {
    context(of, false)
}

/// A span of another process.
pub(super) fn remote(of: &TraceParent) -> SpanContext {
    context(of, true)
}
