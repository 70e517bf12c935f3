//! A line of a worker, and where it goes.
use std::sync::Arc;

/// Which pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Stdout,
    Stderr,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub source: Source,
    pub text: String,
    /// The work that it was printed for, if that is certain.
    pub work: Option<Work>,
}

/// The current work of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Work {
    pub request_id: String,
    /// `None` for a request to a load-balanced worker.
    pub job_id: Option<String>,
}

/// The receiver of lines. Called on the worker's thread, which may wait.
pub(crate) type OnLine = Arc<dyn Fn(Line) + Send + Sync>;
/// The one job or request that the worker is at in this moment, if it is one.
pub(crate) type CurrentWork = Arc<dyn Fn() -> Option<Work> + Send + Sync>;
