//! What is known about a release before it is sent.
use serde::{Deserialize, Serialize};

/// What a look at the target gave. All problems at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Preflight {
    /// Each keeps the release from being sent.
    pub problems: Vec<Finding>,
    /// None of these does.
    pub warnings: Vec<Finding>,
    /// Where the target is another than the release wants, endpoint by endpoint: what somebody changed by hand too.
    pub changes: Vec<FieldChange>,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finding {
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

/// A field of an endpoint at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FieldChange {
    pub worker: String,
    /// As the target calls it, such as `workers.max`; `endpoint` for one that is made or deleted.
    pub field: String,
    /// `None`: there is none yet. Values of variables are left out.
    pub old: Option<String>,
    pub new: Option<String>,
}
