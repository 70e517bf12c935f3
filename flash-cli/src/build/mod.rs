//! What turns an app into what is deployed.
pub(crate) mod cuda;
