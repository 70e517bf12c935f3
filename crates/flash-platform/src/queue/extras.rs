//! What a client may add to a job: its own name for it, a webhook, a bucket.

/// A client's name for a job, so that asking twice makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdempotencyKey {
    pub key: Box<str>,
    /// Of the input: the same key for something else is a mistake.
    pub fingerprint: u64,
}

/// What few jobs have.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Extras {
    /// Notified of the end by a POST.
    pub webhook: Option<String>,
    pub idempotency: Option<IdempotencyKey>,
    /// Passed on to the worker as it is.
    pub s3_config: Option<String>,
}
