//! Credentials for a registry: what they are, where they come from, and why they cannot be read.
use std::{fmt, io, path::PathBuf, process::ExitStatus};

use super::secret::Secret;

/// The user for the registry that is pushed to.
pub(super) const USERNAME: &str = "FLASH_REGISTRY_USERNAME";
/// Their password or token.
pub(super) const PASSWORD: &str = "FLASH_REGISTRY_PASSWORD";
/// Both: no program that flash starts needs them.
pub const REGISTRY_VARIABLES: [&str; 2] = [USERNAME, PASSWORD];

/// Credentials for a registry.
#[derive(Debug, Clone)]
pub(super) enum Login {
    Password {
        user: String,
        password: Secret,
    },
    /// Exchanged for other tokens.
    IdentityToken(Secret),
}

/// A login and where it comes from.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub login: Login,
    pub origin: Origin,
}

/// Where a login comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The two [`REGISTRY_VARIABLES`].
    Variables,
    /// A credentials file.
    File(PathBuf),
    /// The credential helper with this program.
    Helper(String),
}

/// As in the message that a login was rejected.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variables => write!(f, "{USERNAME} and {PASSWORD}"),
            Self::File(path) => path.display().fmt(f),
            Self::Helper(program) => f.write_str(program),
        }
    }
}

/// Why the user's credentials cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum LoginError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Without the parser's message, which may quote a secret.
    #[error("{} is not a valid credentials file: line {line}, column {column}", path.display())]
    File { path: PathBuf, line: usize, column: usize },
    #[error("cannot decode the credentials for {registry} in {}", path.display())]
    Entry { path: PathBuf, registry: String },
    #[error("cannot run credential helper `{program}`")]
    Helper { program: String, source: io::Error },
    #[error("credential helper `{program}` did not answer within {seconds} s")]
    HelperSilent { program: String, seconds: u64 },
    #[error("credential helper `{program}` failed for {server}: {status}")]
    HelperFailed { program: String, server: String, status: ExitStatus },
    #[error("credential helper `{program}` returned invalid credentials")]
    HelperUnclear { program: String },
}

impl LoginError {
    /// What to do next.
    pub(super) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Read { .. } | Self::File { .. } | Self::Entry { .. } => {
                format!("log in again, or set {USERNAME} and {PASSWORD}")
            }
            Self::Helper { program, .. } => {
                format!("install `{program}`, or set {USERNAME} and {PASSWORD}")
            }
            Self::HelperFailed { program, server, .. } => {
                format!("check its output: echo {server} | {program} get")
            }
            Self::HelperSilent { .. } | Self::HelperUnclear { .. } => {
                format!("set {USERNAME} and {PASSWORD}")
            }
        })
    }
}
