//! When the platform runs a function by itself, as the manifest has it.
use serde::{Deserialize, Serialize};

/// The schedule of a function: `#[remote(schedule = "0 3 * * *", timezone = "Europe/Berlin")]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Five fields as of cron: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// The IANA name of the time zone in which they are meant; `UTC` by default.
    #[serde(default = "utc")]
    pub timezone: String,
    /// What happens to times that passed while no platform ran.
    #[serde(default)]
    pub missed: Missed,
    /// Whether a run may start while the one before has not ended.
    #[serde(default)]
    pub overlap: Overlap,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// What happens to the times of a schedule that passed while no platform ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Nothing.
    #[default]
    Skip,
    /// One run for all of them.
    Once,
    /// A run for each of the last hundred, the oldest first.
    All,
}

impl Missed {
    /// As it is written in code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// Whether a run may start while the one before has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// No: the run is left out, or waits where missed runs are made up for.
    #[default]
    Skip,
    /// Yes.
    Allow,
}

impl Overlap {
    /// As it is written in code.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Allow => "allow",
        }
    }
}
