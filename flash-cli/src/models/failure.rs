//! Problems with models, as commands report them.
use flash_weights::{LOCK_FILE, LockError, download::DownloadError};

use crate::exit::{Failure, FailureCode};

/// A model that could not be fetched. What was wrong before anything was tried is wrong usage.
pub(super) fn download_failure(error: &DownloadError) -> Failure {
    let code = match error {
        DownloadError::Setting { .. }
        | DownloadError::NoFile { .. }
        | DownloadError::NoModel { .. }
        | DownloadError::NoRevision { .. }
        | DownloadError::Gated { .. } => FailureCode::Unusable,
        _ => FailureCode::Failed,
    };
    Failure::of(code, error)
}

/// A lock file that cannot be used.
pub(super) fn lock_failure(error: &LockError) -> Failure {
    let hint = match error {
        LockError::Invalid { .. } => format!("restore {LOCK_FILE}, or remove it and run: flash models pull"),
        LockError::Newer { .. } => "update Flash".to_owned(),
        LockError::Io { .. } => return Failure::of(FailureCode::Failed, error),
    };
    Failure::of(FailureCode::Unusable, error).hint(hint)
}
