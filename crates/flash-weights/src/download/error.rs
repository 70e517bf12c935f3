//! Why a model could not be fetched.
use std::{io, path::PathBuf, time::Duration};

use flash_http::retry::Failure;

use crate::lock::LOCK_FILE;

/// Why a model could not be fetched. Messages name the model and what to do next, and never a token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DownloadError {
    /// Its licence must be accepted first.
    #[error(
        "the model `{model}` is gated: accept its licence at {page}, then set HF_TOKEN to a token of your account{}",
        if *has_token { " that may read it (the one that is set may not)" } else { "" }
    )]
    Gated {
        /// The model.
        model: String,
        /// Where its licence is.
        page: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// There is none, or it is private.
    #[error(
        "there is no model `{model}` at {endpoint}{}",
        if *has_token { ", or the token in HF_TOKEN may not read it" } else { "; if it is private, set HF_TOKEN" }
    )]
    NoModel {
        /// The model.
        model: String,
        /// The Hub.
        endpoint: String,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The repository has no such branch, tag or commit.
    #[error("the model `{repo}` has no revision `{revision}`: look at {page} for those it has")]
    NoRevision {
        /// `org/name`.
        repo: String,
        /// As written.
        revision: String,
        /// Where they are listed.
        page: String,
    },
    /// No file matches a pattern.
    #[error("the model `{model}` has no file `{pattern}`{there}")]
    NoFile {
        /// The model.
        model: String,
        /// The pattern.
        pattern: String,
        /// What it has instead.
        there: String,
    },
    /// The network may not be used.
    #[error(
        "the model `{model}` is not in the cache, and HF_HUB_OFFLINE forbids to fetch it: unset HF_HUB_OFFLINE"
    )]
    Offline {
        /// The model.
        model: String,
    },
    /// Too little room.
    #[error(
        "the model `{model}` needs {needed} bytes more in {}, where {free} are free: make room, or set HF_HUB_CACHE to \
         a directory on another disk",
        directory.display()
    )]
    NoRoom {
        /// The model.
        model: String,
        /// Bytes that are missing.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// The cache.
        directory: PathBuf,
    },
    /// What the Hub has is not what is locked.
    #[error(
        "`{file}` of the model `{model}` is not what {LOCK_FILE} says: run `flash models pull --update` if you trust the \
         new content"
    )]
    NotAsLocked {
        /// The model.
        model: String,
        /// The file.
        file: String,
    },
    /// What arrived has another hash than the Hub said.
    #[error("`{file}` arrived damaged twice: its content does not have the hash {expected}")]
    Damaged {
        /// The file.
        file: String,
        /// The hash.
        expected: String,
    },
    /// Another process is fetching the file, and makes no progress.
    #[error("another process fetches `{file}` and has made no progress for {} s: it holds {}", waited.as_secs(), lock.display())]
    Locked {
        /// The file.
        file: String,
        /// The lock.
        lock: PathBuf,
        /// How long nothing happened.
        waited: Duration,
    },
    /// The server answers, but with something else than the Hub's protocol.
    #[error("{endpoint} does not answer as the Hub does: {problem}")]
    Protocol {
        /// The server.
        endpoint: String,
        /// What was wrong.
        problem: String,
    },
    /// The server refused.
    #[error("{endpoint} answered with status {status}")]
    Status {
        /// The server.
        endpoint: String,
        /// The status.
        status: u16,
        /// After which time the server wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// No answer, or an answer that was cut.
    #[error("the connection to {endpoint} failed")]
    Transport {
        /// The server.
        endpoint: String,
        /// Why; without its address, which may hold a signature.
        source: reqwest::Error,
    },
    /// It failed again and again.
    #[error("gave up after {tries} tries; what has arrived is kept, and `flash models pull` continues")]
    GivenUp {
        /// How often it was tried.
        tries: u32,
        /// The last failure.
        source: Box<DownloadError>,
    },
    /// A process fetches files of the model.
    #[error("another process is fetching `{model}`: try again when it has ended")]
    BeingFetched {
        /// The repository.
        model: String,
    },
    /// The cache cannot be read or written.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A setting is not valid.
    #[error("{name} is not valid: {problem}")]
    Setting {
        /// The variable.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl Failure for DownloadError {
    fn is_passing(&self) -> bool {
        match self {
            Self::Transport { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    fn given_up(self, tries: u32) -> Self {
        Self::GivenUp { tries, source: Box::new(self) }
    }
}

impl DownloadError {
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}
