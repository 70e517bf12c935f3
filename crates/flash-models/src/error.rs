//! Why a model could not be loaded.
use std::{error::Error as StdError, io, path::PathBuf};

/// A model that could not be loaded. The cause, where there is one, is the error's source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A file or directory could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory holds no file of the kind that is needed.
    #[error("`{}` contains no {wanted}", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
        /// The file.
        wanted: &'static str,
    },
    /// The directory holds several models.
    #[error("`{}` contains several GGUF files ({}): give the path of one of them", directory.display(), found.join(", "))]
    Several {
        /// The directory.
        directory: PathBuf,
        /// Their names.
        found: Vec<String>,
    },
    /// A file is damaged, or of another format than its name says.
    #[error("could not load `{}`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// The file is well, and this crate cannot run its model.
    #[error("cannot run the model in `{}`: {reason}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What is not supported, and what is.
        reason: String,
    },
    /// The thread of the model could not be started.
    #[error("could not start the thread of the model")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
}

impl LoadError {
    #[cfg_attr(not(any(feature = "gguf", feature = "bert")), allow(dead_code))]
    pub(crate) fn damaged(
        path: impl Into<PathBuf>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::Damaged { path: path.into(), source: source.into() }
    }
}
