//! Why a platform does not start, and why a release does not go live.
use super::{queue::OpenError, supervisor::last_output};

/// Why the platform cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum StartError {
    #[error("could not start the process that supervises workers")]
    Lifeline(#[source] std::io::Error),
    #[error("the listening socket cannot be used")]
    Listener(#[source] std::io::Error),
    #[error("could not open the job store")]
    Store(#[from] OpenError),
}

/// Why a release does not go live. The one before it, if any, keeps serving.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum DeployError {
    #[error("a worker of type `{worker_type}` did not become ready: {reason}{}", last_output(last_lines))]
    NotReady {
        worker_type: String,
        reason: String,
        /// Of the stderr of the worker that died, oldest first.
        last_lines: Vec<String>,
    },
}
