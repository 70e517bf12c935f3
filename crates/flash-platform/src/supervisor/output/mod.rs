//! The output of a worker, line by line, tagged with the request and job that it belongs to.
//!
//! A pipe does not know requests. While a worker serves one request, its output belongs to that request, including
//! the last lines. So when a request ends, everything in the pipes is marked as its output ([`Output::work_ends`]):
//! whatever was printed before the result was sent is in them by then. Lines of the SDK's logger contain their
//! request ID.
//!
//! A worker that prints without pause must only slow down its own log. The async runtime just copies bytes, one
//! bounded chunk per turn. One thread per worker splits them into lines and processes the lines. While that thread is
//! behind, the pipes stay full and the worker waits. Only the last lines of a request, if they are few, are processed
//! at once, so that they are in the log before the end of the request.
mod attribution;
mod line;
mod lines;
mod pipes;

pub(super) use line::{CurrentWork, OnLine};
pub(crate) use line::{Line, Source, Work};
pub(crate) use pipes::Output;
