//! Wakes the thread of the model: for a new request, a reader that took something, or one that left.
use std::{sync::OnceLock, thread::Thread};

/// The model's thread, once it runs.
#[derive(Debug, Default)]
pub(super) struct Wake {
    thread: OnceLock<Thread>,
}

impl Wake {
    /// The calling thread is the model's.
    pub(super) fn attach(&self) {
        // There is one runner.
        let _ = self.thread.set(std::thread::current());
    }

    /// Lets the thread look again. Costs an atomic operation if it does not sleep.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }
}
