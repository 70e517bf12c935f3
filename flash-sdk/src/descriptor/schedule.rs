//! When the platform runs a function by itself.
use flash_protocol::{Missed, Overlap};

/// What `#[remote]` or `#[job]` says of it. The macro has checked the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    cron: &'static str,
    timezone: &'static str,
    missed: Missed,
    overlap: Overlap,
}

impl Schedule {
    /// In UTC; nothing is made up for, and nothing overlaps.
    pub const fn new(cron: &'static str) -> Self {
        Self { cron, timezone: "UTC", missed: Missed::Skip, overlap: Overlap::Skip }
    }

    /// The time zone in which it is meant.
    pub const fn timezone(mut self, name: &'static str) -> Self {
        self.timezone = name;
        self
    }

    /// What happens to missed times.
    pub const fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// Whether runs may overlap.
    pub const fn overlap(mut self, overlap: Overlap) -> Self {
        self.overlap = overlap;
        self
    }

    /// As the manifest has it.
    pub(crate) fn entry(self) -> flash_protocol::Schedule {
        let Self { cron, timezone, missed, overlap } = self;
        flash_protocol::Schedule { cron: cron.to_owned(), timezone: timezone.to_owned(), missed, overlap }
    }
}
