//! The settings of one function, as opposed to those of its worker type.
use flash_protocol::{BatchLimits, Retries, manifest};

use super::schedule::Schedule;

/// What `#[remote]` or `#[job]` sets for one function. The builders are `const`; nothing is set by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionSettings {
    /// How often it runs again after a retryable error; `None` for never.
    pub retries: Option<Retries>,
    /// When the platform runs it by itself.
    pub schedule: Option<Schedule>,
    /// Within which limits its calls run together; `None`: each runs by itself.
    pub batch: Option<BatchLimits>,
    /// An input as JSON, for people who try the function.
    pub example: Option<&'static str>,
    /// How many events of a route are kept for a client that reconnects; `None`: the stream ends with the connection.
    pub replay: Option<u32>,
}

impl FunctionSettings {
    /// Nothing set.
    #[expect(clippy::new_without_default, reason = "only the code of the macro makes one, in a `const`")]
    pub const fn new() -> Self {
        Self { retries: None, schedule: None, batch: None, example: None, replay: None }
    }

    /// Runs again after a retryable error.
    pub const fn retries(mut self, retries: Retries) -> Self {
        self.retries = Some(retries);
        self
    }

    /// Runs at times of the clock.
    pub const fn schedule(mut self, schedule: Schedule) -> Self {
        self.schedule = Some(schedule);
        self
    }

    /// Runs its calls in batches.
    pub const fn batch(mut self, limits: BatchLimits) -> Self {
        self.batch = Some(limits);
        self
    }

    /// An input as JSON.
    pub const fn example(mut self, json: &'static str) -> Self {
        self.example = Some(json);
        self
    }

    /// Keeps events for a client that reconnects.
    pub const fn replay(mut self, events: u32) -> Self {
        self.replay = Some(events);
        self
    }

    /// As the manifest has them. An example that is not JSON is left out: see `Registry::check_examples`.
    pub(crate) fn entry(&self) -> manifest::FunctionSettings {
        let Self { retries, schedule, batch, example, replay } = *self;
        let example = example.and_then(|json| serde_json::from_str(json).ok());
        manifest::FunctionSettings {
            retries,
            schedule: schedule.map(Schedule::entry),
            batch,
            example,
            replay,
        }
    }
}
