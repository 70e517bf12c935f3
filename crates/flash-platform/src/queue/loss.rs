//! What the loss of an attempt means for its job.

/// What the loss of an attempt means for its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loss {
    /// Nothing: its worker was ended for another reason.
    Spared,
    /// Its worker lives, and lost it.
    Forgotten,
    /// Its worker died: it may be the cause.
    Suspect,
    /// Its worker died at what would be its last attempt, while running other jobs too. The job may be the cause, but
    /// gets one attempt alone before it is dead.
    Unclear,
}

impl Loss {
    /// Whether the attempt is one of those that a job gets.
    pub(super) fn counts(self) -> bool {
        matches!(self, Self::Forgotten | Self::Suspect)
    }

    pub(super) fn is_suspicious(self) -> bool {
        matches!(self, Self::Suspect | Self::Unclear)
    }
}
