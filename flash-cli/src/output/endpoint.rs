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

impl Endpoint {
    /// What each column is.
    pub(super) fn heads() -> Self {
        let [method, path, function, worker, compute, workers] =
            ["method", "path", "function", "worker type", "compute", "workers"].map(str::to_owned);
        Self { method, path, function, worker, compute, workers, curl: String::new() }
    }
}
