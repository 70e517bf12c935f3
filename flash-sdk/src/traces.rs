//! Spans of calls: one for each function that this worker runs, below the span of its caller, and the spans that user
//! code opens with `tracing`, below that.
//!
//! With the feature `otel` a worker sends them over OTLP, as the standard variables say. Without it, or without those
//! variables, none are made, and the trace of a call is only passed on.
#[cfg(feature = "otel")]
mod otel;
#[cfg(not(feature = "otel"))]
mod silent;

use flash_protocol::wire::identity::TraceParent;

use crate::descriptor::Function;

#[cfg(feature = "otel")]
pub(crate) use otel::{Sending, begin, current, failed};
#[cfg(not(feature = "otel"))]
pub(crate) use silent::{begin, current, failed};

/// What a call is, for its span.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "only a span has it"))]
pub(crate) enum Called {
    /// A job of a function.
    Job(&'static Function),
    /// A request to a route; without a function, to a router.
    Route(Option<&'static Function>),
    /// A function in the same process, whose name is in its envelope.
    InProcess,
}

/// What a span says of its call.
#[cfg_attr(not(feature = "otel"), expect(dead_code, reason = "only a span has it"))]
pub(crate) struct Described<'a> {
    pub called: Called,
    /// The name in the envelope.
    pub function: Option<&'a str>,
    pub parent: Option<&'a TraceParent>,
    pub request_id: &'a str,
    pub job_id: Option<&'a str>,
    pub attempt: u32,
}
