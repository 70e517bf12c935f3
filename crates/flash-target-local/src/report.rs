//! Where the service reports what it does.
use std::sync::Arc;

/// Takes what the service says about itself. `flash` prints it to stderr, which is `service.log`.
///
/// Its methods are called on threads of the runtime, so they must not wait for a slow reader; only `flush` may.
pub trait Report: Send + Sync {
    /// A step that has begun or ended, such as `Serving` and what is served.
    fn status(&self, verb: &str, text: &str);
    /// Something went wrong, and the service continues.
    fn warning(&self, text: &str);
    /// The service ends because of this.
    fn error(&self, text: &str);
    /// Waits until everything is written, for a limited time.
    fn flush(&self);
}

/// A report that is shared by the parts of the service.
pub type SharedReport = Arc<dyn Report>;
