//! What rows refer to.

/// The number of an environment in the file, used by other rows to refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EnvironmentKey(pub(super) i64);
