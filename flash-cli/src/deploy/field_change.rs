//! One part of an item that changes, in a plan and in a comparison of schemas.
use serde::{Deserialize, Serialize};

/// One part that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FieldChange {
    pub field: String,
    pub before: Option<String>,
    pub after: Option<String>,
    /// Why it breaks callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaking: Option<String>,
}
