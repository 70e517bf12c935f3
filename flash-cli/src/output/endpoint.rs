//! A row of the endpoint table.
use serde::Serialize;

/// A row of the endpoint table.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Endpoint {
    pub method: String,
    pub path: String,
    pub function: String,
    pub worker: String,
    pub compute: String,
    pub workers: String,
    pub curl: String,
}
