//! No spans.
use flash_protocol::{Error, wire::identity::TraceParent};

use super::Described;

/// None are made.
pub(crate) fn begin(_: &Described<'_>) -> Option<(tracing::Span, TraceParent)> {
    None
}

/// There is none.
pub(crate) fn current() -> Option<TraceParent> {
    None
}

/// There is no span to say so.
pub(crate) fn failed(_: &tracing::Span, _: &Error) {}
