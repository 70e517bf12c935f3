//! Why an engine cannot be used, or failed.
use std::{io, path::PathBuf, time::Duration};

use flash_image::LayoutError;

use super::Kind;

/// Why an image could not be pulled, as far as the engine's message tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullProblem {
    /// The registry has no image of this name.
    NotFound,
    /// The registry does not let us have it; some say so of images that do not exist, too.
    Denied,
    /// Anything else, such as a registry that does not answer.
    Other,
}

/// Why an engine failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum EngineError {
    #[error("no container engine found: neither `podman` nor `docker` is installed")]
    None,
    #[error("`{}` is not installed", .0.name())]
    Missing(Kind),
    #[error("could not start `{}`", kind.name())]
    Start { kind: Kind, source: io::Error },
    #[error("`{what}` failed: {reason}")]
    Failed { what: String, reason: String },
    #[error("`{what}` did not answer within {} s", limit.as_secs())]
    Late { what: String, limit: Duration },
    #[error("cannot parse the output of `{0}`")]
    Unreadable(String, #[source] serde_json::Error),
    #[error("podman {0} is too old; version 4.0 or newer is required")]
    Old(String),
    #[error("{0}, so they cannot reach the platform on this machine's loopback address")]
    Elsewhere(&'static str),
    #[error("the variable `{name}` has a multi-line value, which {engine} cannot pass to a container")]
    ManyLines { name: String, engine: &'static str },
    #[error("cannot pull the image `{image}`: {reason}")]
    Pull { image: String, problem: PullProblem, reason: String },
    #[error("the image `{image}` is for {has}; this machine needs one for {wanted}")]
    Platform { image: String, has: String, wanted: String },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("cannot pack the image for the engine")]
    Archive(#[source] io::Error),
    #[error("the image of `{worker}` is not the one that was built: {} lacks {digest}", layout.display())]
    Changed { worker: String, digest: String, layout: PathBuf },
    #[error("{engine} stored another image of `{worker}` than was built; expected {wanted}")]
    Different { engine: &'static str, worker: String, wanted: String },
}
