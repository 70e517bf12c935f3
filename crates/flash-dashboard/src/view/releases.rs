//! Releases of an environment, for their page.

/// A release in the list.
#[derive(Debug, Clone)]
pub struct ShownRelease {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub created_ms: u64,
    /// What has become of it.
    pub state: ShownState,
    /// The commit that it was built from, if that is known.
    pub commit: Option<String>,
    /// The digest of its artifact, in hex.
    pub digest: String,
    /// The words of whoever made it, or why it failed.
    pub notes: Vec<String>,
    /// Whether it can be gone back to.
    pub can_return: bool,
    /// The release before it that had traffic, and what changed since; `None` if that cannot be read.
    pub changes: Option<(Option<u64>, ShownChanges)>,
}

/// The state of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShownState {
    /// Its workers start beside the live release.
    Starting,
    /// Traffic goes to it.
    Live,
    /// It had traffic.
    Replaced,
    /// It had traffic, and its artifact is not kept any more.
    NotKept,
    /// It did not become ready.
    Failed,
}

/// A plan: what changes from one release to another.
#[derive(Debug, Clone, Default)]
pub struct ShownChanges {
    /// In words, as commands print them.
    pub lines: Vec<ChangeLine>,
    /// Items that change, whether all their lines are here or not.
    pub items: usize,
    /// Lines that are left out.
    pub left_out: usize,
    /// Why callers break.
    pub breaking: Vec<String>,
    /// An hour's cost before; `None` if nothing was live.
    pub cost_before: Option<String>,
    /// An hour's cost afterwards.
    pub cost_after: String,
}

/// A line of a plan.
#[derive(Debug, Clone)]
pub struct ChangeLine {
    /// `+`, `~`, `-`, or a space for a part of the item above.
    pub sign: &'static str,
    /// What changes, and how.
    pub text: String,
}

/// What going back to an earlier release would change, to be confirmed.
#[derive(Debug, Clone)]
pub struct WayBack {
    /// The release to go back to.
    pub to: u64,
    /// The release that is live; `None`: none is.
    pub base: Option<u64>,
    /// What changes.
    pub changes: ShownChanges,
    /// Limits that were set by hand, and that this takes back.
    pub taken_back: Vec<String>,
}
