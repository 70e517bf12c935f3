//! Traces: a request at the gateway, the wait of each hop, starts of workers, attempts of jobs.
//!
//! Most spans are made from what is known when a hop has ended, so that nothing is kept open for them. The ID of a
//! job's span follows from the job, so neither the queue nor its store has it. Workers make the spans of what they run,
//! below the one whose ID they are given. Where there are no traces, there is no [`Traces`].
mod hop;
mod ids;
mod job;
mod request;
mod span;
mod starts;
mod tracer;

pub(crate) use hop::{HopEnd, HopSpan};
pub(crate) use ids::ids_of;
pub(crate) use job::{JobEnd, JobTrace, attempt_of, key_of};
pub(crate) use request::{RequestSpan, Route};
pub use tracer::Traces;

/// The header with the trace and its span.
pub(crate) const TRACEPARENT: &str = "traceparent";
