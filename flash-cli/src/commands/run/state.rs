//! The parts of a `flash run` that outlive it: the job store with `--keep`, and the secret that signs webhooks.
use std::{
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use flash_platform::{ApiKey, Durability, OpenError, Secret, StartError};

use super::variable::variable;
use crate::{
    commands::endpoint_table::curl_with_header,
    exit::{Failure, FailureCode},
};

/// The variable with the key that clients must send.
const API_KEY: &str = "FLASH_API_KEY";

/// What kept jobs survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// Any end of flash. After a power cut, the most recent changes may be missing.
    Process,
    /// A power cut as well: each job is on disk before its ID is returned. Slower.
    PowerLoss,
}

/// Where jobs are stored, and how durably.
pub(super) struct StoreLocation {
    pub directory: PathBuf,
    pub durability: Durability,
}

impl StoreLocation {
    /// Without `--keep`, beside the binaries of this process and removed with them; else in the project.
    pub(super) fn new(package: &Path, throw_away: &Path, keep: Option<Keep>) -> Self {
        let kept = || package.join(".flash").join("state");
        match keep {
            None => Self { directory: throw_away.join("state"), durability: Durability::Process },
            Some(Keep::Process) => Self { directory: kept(), durability: Durability::Machine },
            Some(Keep::PowerLoss) => Self { directory: kept(), durability: Durability::PowerLoss },
        }
    }
}

/// Why the platform did not start, and what to do.
pub(super) fn not_started(error: &StartError) -> Failure {
    let failure = Failure::of(FailureCode::Failed, error);
    match error {
        StartError::Store(OpenError::InUse { .. }) => failure
            .hint("another `flash run --keep` is running for this project: stop it, or run without --keep"),
        StartError::Store(OpenError::Newer { .. }) => {
            failure.hint("use the newer version of flash, or move the file away")
        }
        StartError::Store(OpenError::Unreadable { .. }) => {
            failure.hint("move the file away to start without its jobs, or run without --keep")
        }
        StartError::Store(OpenError::Directory { .. } | OpenError::Thread(_))
        | StartError::Lifeline(_)
        | StartError::Listener(_) => failure,
    }
}

/// The key in `FLASH_API_KEY` that clients must send, if set.
pub(super) fn api_key(dotenv: &[(String, String)]) -> Result<Option<ApiKey>, Failure> {
    let key = |text: String| {
        ApiKey::new(&text)
            .ok_or_else(|| Failure::unusable(format!("{API_KEY} may contain only visible ASCII characters")))
    };
    variable(API_KEY, dotenv).map(key).transpose()
}

/// The `curl` command when that key is required: with a header file in this directory, so that the key appears in
/// no process list and no shell history.
pub(super) fn curl(directory: &Path, dotenv: &[(String, String)]) -> Result<String, Failure> {
    let Some(key) = variable(API_KEY, dotenv) else { return Ok("curl".to_owned()) };
    let path = directory.join("header");
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(format!("Authorization: Bearer {key}\n").as_bytes()))
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))?;
    Ok(curl_with_header(&path))
}

/// The secret in `FLASH_WEBHOOK_SECRET` (environment or `.env`), or one generated once and stored in
/// `.flash/webhook_secret`.
pub(super) fn webhook_secret(package: &Path, dotenv: &[(String, String)]) -> Result<Secret, Failure> {
    const VARIABLE: &str = "FLASH_WEBHOOK_SECRET";
    if let Some(given) = variable(VARIABLE, dotenv) {
        return Secret::parse(&given).map_err(|error| Failure::unusable(format!("{VARIABLE}: {error}")));
    }
    let path = package.join(".flash").join("webhook_secret");
    let problem = |error: io::Error| Failure::failed(format!("cannot use {}: {error}", path.display()));
    match std::fs::read_to_string(&path) {
        Ok(text) => parse_stored(&path, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = Secret::random();
            match store_new(&path, &secret).map_err(problem)? {
                Stored::Ours => Ok(secret),
                Stored::Theirs => parse_stored(&path, &std::fs::read_to_string(&path).map_err(problem)?),
            }
        }
        Err(error) => Err(problem(error)),
    }
}

fn parse_stored(path: &Path, text: &str) -> Result<Secret, Failure> {
    Secret::parse(text).map_err(|error| {
        Failure::failed(format!("{}: {error}", path.display())).hint("remove the file to get a new one")
    })
}

/// Whose secret is stored, when several `flash run` of a project start at the same moment.
#[derive(Debug, PartialEq, Eq)]
enum Stored {
    /// The one that was to be stored.
    Ours,
    /// That of another process, which was faster.
    Theirs,
}

/// Stores a secret whole, readable only by its owner, unless there is one by now.
fn store_new(path: &Path, secret: &Secret) -> io::Result<Stored> {
    let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    file.write_all(secret.reveal().as_bytes())?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(Stored::Ours),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(Stored::Theirs),
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn all_that_start_at_once_use_one_secret() {
        let package = tempfile::tempdir().unwrap();
        let directory = package.path().join(".flash");
        std::fs::create_dir(&directory).unwrap();
        let starts = 16;
        let at_once = std::sync::Barrier::new(starts);
        let secret = || {
            at_once.wait();
            webhook_secret(package.path(), &[]).unwrap().reveal().to_owned()
        };
        let mut secrets: Vec<String> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..starts).map(|_| scope.spawn(secret)).collect();
            started.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        secrets.dedup();
        assert_eq!(secrets, [std::fs::read_to_string(directory.join("webhook_secret")).unwrap()]);
        let files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        assert_eq!(files[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_secret_is_stored_once_and_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("webhook_secret");
        let (first, second) = (Secret::random(), Secret::random());
        assert_eq!(store_new(&path, &first).unwrap(), Stored::Ours);
        assert_eq!(store_new(&path, &second).unwrap(), Stored::Theirs);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), first.reveal());
    }
}
