//! What those who change jobs, or have overdue ones ended, learn from the queue.

/// Why a job cannot be changed as a client wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("no such job")]
    Unknown,
    #[error("the job has ended")]
    Ended,
    #[error("only a failed or timed-out job can be retried")]
    NotFailed,
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reported {
    /// The job ended by it.
    Accepted,
    /// The job had ended before, and its worker was notified; the worker only releases it.
    Released,
    /// The worker had lost the attempt.
    Late,
}

/// Whether more jobs are due than one look has dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Done,
    More,
}
