//! The output of a worker, line by line, tagged with the request and job that it belongs to.
//!
//! A pipe does not know requests. While a worker serves one request, its output belongs to that request, including
//! the last lines. So when a request ends, everything in the pipes is marked as its output ([`Output::work_ends`]):
//! whatever was printed before the result was sent is in them by then. Lines of the SDK's logger contain their
//! request ID.
//!
//! The output of a worker in a pod is read by another process, at some later time. So the worker marks in its output which
//! work it prints for, and the frames that carry it say so ([`Carried`]).
//!
//! A worker that prints without pause must only slow down its own log. The async runtime just copies bytes, one
//! bounded chunk per turn. One thread per worker splits them into lines and processes the lines. While that thread is
//! behind, the pipes stay full and the worker waits. Only the last lines of a request, if they are few, are processed
//! at once, so that they are in the log before the end of the request.
mod attribution;
mod carried;
mod line;
mod lines;
mod pipes;

use std::sync::Arc;

pub(super) use carried::Carried;
pub(super) use line::{CurrentWork, OnLine};
pub(crate) use line::{Line, Source, Work};
pub(crate) use lines::LastLines;
pub(super) use pipes::PipedOutput;

/// The output of a worker. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Output {
    /// Of a process or container, which the system's pipes bring.
    Piped(Arc<PipedOutput>),
    /// Of a worker in a pod, whose frames say what it is for.
    Carried(LastLines),
}

impl Output {
    /// The current work is about to end: all output so far belongs to it, including an incomplete last line. Takes
    /// limited time, however much was printed.
    pub(crate) fn work_ends(&self) {
        match self {
            Self::Piped(output) => output.work_ends(),
            // The worker marks it itself.
            Self::Carried(_) => {}
        }
    }

    /// The last lines of stderr.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        match self {
            Self::Piped(output) => output.last_lines(),
            Self::Carried(last) => last.lock().iter().cloned().collect(),
        }
    }
}
