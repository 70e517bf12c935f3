//! The files that an app takes with it.
use std::path::PathBuf;

use super::layer::Access;

/// A file of the crate that goes into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IncludedFile {
    pub source: PathBuf,
    /// Its path below `/app`.
    pub path: String,
    pub access: Access,
}
