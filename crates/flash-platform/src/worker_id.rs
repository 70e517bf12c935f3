//! The name of a worker, which queue, balancer, pool, meter and log share.
use std::sync::Arc;

/// A worker's id, as everything outside of its process knows it.
pub(crate) type WorkerId = Arc<str>;
