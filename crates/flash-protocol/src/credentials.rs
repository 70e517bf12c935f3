//! The user's credential file: the environments that this user can call, with URLs and keys.
//!
//! `flash` writes it; `flash` and apps with [`FLASH_ENV`](mod@crate::variables) read it. It is one JSON file,
//! `credentials.json`, with mode 0600, in [`directory`].
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// The version of the file format.
pub const VERSION: u32 = 1;

/// The content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The format, [`VERSION`].
    #[serde(default)]
    pub version: u32,
    /// By app, then by environment.
    #[serde(default)]
    pub environments: BTreeMap<String, BTreeMap<String, EnvironmentCredentials>>,
}

/// How to call one environment.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentCredentials {
    /// The key, sent as a bearer token.
    pub key: String,
    /// The base URL of routes, if there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Worker type to base URL, as in `FLASH_ENDPOINTS`: `/run` is appended for a queue, the path for a load-balanced
    /// worker type.
    #[serde(default)]
    pub endpoints: BTreeMap<String, String>,
}

impl fmt::Debug for EnvironmentCredentials {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnvironmentCredentials")
            .field("url", &self.url)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// Neither a home directory nor `FLASH_CONFIG_DIR` is set.
    #[error("no directory for credentials: set FLASH_CONFIG_DIR or HOME")]
    NoDirectory,
    /// The file exists but cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid JSON of this format.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file was written by a newer version.
    #[error("{} has version {version}; this version of Flash reads {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// The user's configuration directory: `FLASH_CONFIG_DIR`, or else `$XDG_CONFIG_HOME/flash`, or else
/// `~/.config/flash`.
pub fn directory() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("FLASH_CONFIG_DIR")
        .or_else(|| variable("XDG_CONFIG_HOME").map(|config| config.join("flash")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".config").join("flash")))
}

impl Credentials {
    /// The path of the file in a configuration directory.
    pub fn path(directory: &Path) -> PathBuf {
        directory.join("credentials.json")
    }

    /// Reads this user's file; empty if it does not exist.
    ///
    /// # Errors
    /// If the file exists but cannot be used.
    pub fn load() -> Result<Self, CredentialsError> {
        let directory = directory().ok_or(CredentialsError::NoDirectory)?;
        Self::load_from(&Self::path(&directory))
    }

    /// Like [`Credentials::load`], from this file.
    ///
    /// # Errors
    /// If the file exists but cannot be used.
    pub fn load_from(path: &Path) -> Result<Self, CredentialsError> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(CredentialsError::Unreadable { path: path.to_owned(), source }),
        };
        let read: Self = serde_json::from_slice(&text)
            .map_err(|source| CredentialsError::Damaged { path: path.to_owned(), source })?;
        match read.version {
            version if version > VERSION => Err(CredentialsError::Newer { path: path.to_owned(), version }),
            _ => Ok(read),
        }
    }

    /// How to call this environment.
    pub fn environment(&self, app: &str, name: &str) -> Option<&EnvironmentCredentials> {
        self.environments.get(app)?.get(name)
    }
}
