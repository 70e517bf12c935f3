//! What is known about a release before it is sent.
use serde::{Deserialize, Serialize};

/// The results of checking a target. All problems at once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preflight {
    /// Each prevents sending the release.
    pub problems: Vec<Finding>,
    /// None of these prevents it.
    pub warnings: Vec<Finding>,
    /// Where the target differs from the release, endpoint by endpoint, including manual changes.
    pub changes: Vec<EndpointChange>,
}

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What was found, for people.
    pub message: String,
    /// What to do about it.
    pub fix: String,
}

/// A field of an endpoint at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointChange {
    /// The name of the endpoint's worker type.
    pub worker: String,
    /// The target's name for it, such as `workers.max`; `endpoint` for one that is created or deleted.
    pub field: String,
    /// `None`: it does not exist yet. Values of variables are left out.
    pub old: Option<String>,
    /// `None`: it is removed.
    pub new: Option<String>,
}
