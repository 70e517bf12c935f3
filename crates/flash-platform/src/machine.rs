//! The machine resources that all platforms of a process share.
//!
//! GPUs are allocated in one place, control groups are created once, and there is one lifeline process: two platforms
//! with separate ones could give the same GPU to two workers. The process's open files are shared among the
//! listeners.
use std::{sync::Arc, time::Duration};

use super::{
    error::StartError,
    listener::{ConnectionShare, Descriptors, Listeners},
    supervisor::{Isolation, Lifeline, LimitScope},
};

/// See the module. Cheap to share.
#[derive(Clone)]
pub struct Machine {
    pub(super) lifeline: Lifeline,
    pub(super) isolation: Isolation,
    descriptors: Descriptors,
}

impl Machine {
    /// Starts the lifeline and detects what the machine allows; logs what it does not.
    ///
    /// # Errors
    /// When no lifeline can be started.
    pub fn start(
        limiting: LimitScope,
        listeners: Listeners,
        say: impl Fn(String) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        let lifeline = Lifeline::start().map_err(StartError::Lifeline)?;
        let isolation = Isolation::start(limiting, &lifeline, Arc::new(say));
        Ok(Self { lifeline, isolation, descriptors: Descriptors::of_this_process(listeners) })
    }

    /// The share of one more listener of this process.
    pub fn share(&self) -> ConnectionShare {
        self.descriptors.share()
    }

    /// Ends the lifeline, once every platform has stopped. If it has more to do, it continues alone after `limit`.
    pub async fn end(&self, limit: Duration) {
        self.lifeline.end(limit).await;
    }
}
