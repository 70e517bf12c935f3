//! The value of a `#[remote] impl`: how a worker makes, checks and ends it.
use std::fmt;

use flash_protocol::Result;
use futures_util::future::BoxFuture;

/// A step of a value's life.
pub(crate) type Step = fn() -> BoxFuture<'static, Result<()>>;

/// The life of the one value of a `#[remote] impl` in this process.
pub struct Lifecycle {
    /// The type, as logs and errors name it.
    pub name: &'static str,
    /// Whether its `#[init]` takes the directory of a model.
    pub needs_model: bool,
    /// Makes the value, once.
    pub init: Step,
    /// Ends it, if it was made.
    pub exit: Option<Step>,
    /// Asks whether it is healthy.
    pub health: Option<HealthCheck>,
}

/// How often a value is asked whether it is healthy.
pub struct HealthCheck {
    /// Seconds between two checks.
    pub every_seconds: u64,
    /// The error says what is wrong. Without a value it is healthy.
    pub ask: Step,
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").field("name", &self.name).finish_non_exhaustive()
    }
}
