//! The marks at the start of lines: of changes and of findings.
use flash_plan::Mark;

use super::colour::{GREEN, RED, YELLOW};

/// The colour of a change's mark.
pub(super) const fn colour_of(mark: Mark) -> &'static str {
    match mark {
        Mark::Created => GREEN,
        Mark::Removed => RED,
        Mark::Changed | Mark::Part => YELLOW,
    }
}

/// Whether a finding is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FindingMark {
    /// As it should be.
    Good,
    /// Some commands will not work.
    Note,
    /// Nothing will work.
    Bad,
}

impl FindingMark {
    /// At the start of its line.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Note => "!",
            Self::Bad => "✗",
        }
    }

    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Good => GREEN,
            Self::Note => YELLOW,
            Self::Bad => RED,
        }
    }
}
