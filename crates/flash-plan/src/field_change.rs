//! One part of an item that changes, in a plan and in a comparison of schemas.
use serde::{Deserialize, Serialize};

/// One part that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Its name, such as `workers` or `input.text`; empty for an item with a single value.
    pub field: String,
    /// Its value before; `None` if there was none.
    pub before: Option<String>,
    /// Its value afterwards; `None` if there is none.
    pub after: Option<String>,
    /// Why it breaks callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaking: Option<String>,
}
