//! The marks at the start of lines: of changes and of findings.
use super::colour::{GREEN, RED, YELLOW};

/// What happens to an item of a list of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeMark {
    /// It is new.
    Created,
    /// It stays, and something about it changes.
    Changed,
    /// It is gone afterwards.
    Removed,
    /// A part of the item above.
    Part,
}

impl ChangeMark {
    /// At the start of its line.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Created => "+",
            Self::Changed => "~",
            Self::Removed => "-",
            Self::Part => " ",
        }
    }

    pub(super) fn colour(self) -> &'static str {
        match self {
            Self::Created => GREEN,
            Self::Removed => RED,
            Self::Changed | Self::Part => YELLOW,
        }
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
