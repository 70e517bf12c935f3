//! The key of the user's account: where it is searched for, and where `flash login` stores it.
use std::{
    fmt,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use flash_protocol::{credentials, variables};
use serde::{Deserialize, Serialize};

use flash_target::{Problem, SecretValue, TargetError};
use flash_text::dotenv;

const FILE: &str = "runpod.json";

/// Where a key comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `RUNPOD_API_KEY`.
    Variable,
    /// A `.env` of the project.
    Dotenv(PathBuf),
    /// Stored by `flash login`.
    Login(PathBuf),
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable => f.write_str(variables::RUNPOD_API_KEY),
            Self::Dotenv(path) | Self::Login(path) => write!(f, "{}", path.display()),
        }
    }
}

/// A key that was found.
#[derive(Debug, Clone)]
pub struct FoundKey {
    /// Its value, for requests to the API.
    pub key: SecretValue,
    /// Where it was found.
    pub source: KeySource,
}

#[derive(Serialize, Deserialize)]
struct StoredKey {
    api_key: SecretValue,
}

/// The key in use: from the variable, from a `.env` in `directory` or above, or from `flash login`.
///
/// # Errors
/// When a file exists and cannot be read.
pub fn find(directory: Option<&Path>) -> Result<Option<FoundKey>, TargetError> {
    if let Some(key) = variables::get(variables::RUNPOD_API_KEY) {
        return Ok(Some(FoundKey { key: SecretValue::new(key), source: KeySource::Variable }));
    }
    if let Some(found) = directory.map(of_dotenv).transpose()?.flatten() {
        return Ok(Some(found));
    }
    let Some(path) = path() else { return Ok(None) };
    match std::fs::read(&path) {
        Ok(text) => {
            // Its own error could quote the key.
            let kept: StoredKey = serde_json::from_slice(&text)
                .map_err(|_| unreadable(&path).because("it was not written by `flash login`"))?;
            Ok(Some(FoundKey { key: kept.api_key, source: KeySource::Login(path) }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(&path).because(error)),
    }
}

fn unreadable(path: &Path) -> TargetError {
    TargetError::new(Problem::Failed, format!("cannot read the key in {}", path.display()))
        .hint("write it again: flash login")
}

/// Errors never repeat anything from the file: it holds secrets.
fn of_dotenv(directory: &Path) -> Result<Option<FoundKey>, TargetError> {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let Some(path) = directory.ancestors().map(|above| above.join(".env")).find(|path| path.is_file()) else {
        return Ok(None);
    };
    let broken = |place: String| {
        TargetError::new(Problem::Refused, format!("cannot read {place}"))
            .hint(format!("correct it, or set {}", variables::RUNPOD_API_KEY))
    };
    let file = std::fs::read(&path).map_err(|error| broken(path.display().to_string()).because(error))?;
    let from_file = dotenv::parse(&file)
        .map_err(|error| broken(format!("{}:{}", path.display(), error.line)).because(error))?;
    let key =
        from_file.into_iter().find(|(name, value)| name == variables::RUNPOD_API_KEY && !value.is_empty());
    Ok(key.map(|(_, key)| FoundKey { key: SecretValue::new(key), source: KeySource::Dotenv(path) }))
}

/// No key was found.
pub fn no_key() -> TargetError {
    TargetError::new(Problem::Refused, "no key for Runpod found")
        .hint("store one: flash login; or set RUNPOD_API_KEY in the environment or in .env")
}

fn path() -> Option<PathBuf> {
    credentials::directory().map(|directory| directory.join(FILE))
}

/// Stores a key for this user, in a file that only the user can read.
///
/// # Errors
/// When it cannot be written; the file is then unchanged.
pub fn keep(key: &SecretValue) -> Result<PathBuf, TargetError> {
    let path = path().ok_or_else(|| {
        TargetError::new(Problem::Refused, "no home directory to store the key in")
            .hint(format!("set {}", variables::CONFIG_DIR))
    })?;
    let write = || {
        let directory = path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(directory)?;
        serde_json::to_writer(&mut file, &StoredKey { api_key: key.clone() })?;
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)
    };
    match write() {
        Ok(_) => Ok(path),
        Err(error) => Err(TargetError::new(Problem::Failed, format!("cannot write {}", path.display()))
            .because(error)
            .hint(format!("free space or fix its permissions, or set {}", variables::RUNPOD_API_KEY))),
    }
}

/// Deletes the stored key; `None` if there is none.
///
/// # Errors
/// When it cannot be removed.
pub fn forget() -> Result<Option<PathBuf>, TargetError> {
    let Some(path) = path() else { return Ok(None) };
    match std::fs::remove_file(&path) {
        Ok(()) => Ok(Some(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(TargetError::new(Problem::Failed, format!("cannot remove {}", path.display()))
            .because(error)
            .hint("remove it by hand: the key is in it")),
    }
}
