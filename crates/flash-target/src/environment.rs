//! Environments: their names and what is known of each.
use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use flash_protocol::manifest::EndpointKind;
use serde::{Deserialize, Serialize};

use super::{ReleaseRecord, access::NewKey};

/// The kind of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetKind {
    /// The background service on this machine.
    Local,
    /// Runpod's cloud.
    Runpod,
    /// A Kubernetes cluster.
    Kubernetes,
}

impl TargetKind {
    /// As the user types it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Runpod => "runpod",
            Self::Kubernetes => "kubernetes",
        }
    }
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// An environment of an app. Two apps may each have a `production`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EnvironmentId {
    /// The name of the app's package.
    pub app: String,
    /// Unique in the app: 1 to 40 of `a-z`, `0-9` and `-`; a letter first, no `-` last.
    pub name: String,
}

impl fmt::Display for EnvironmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.name)
    }
}

/// An invalid environment name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid environment name; expected 1 to 40 lower-case letters, digits and `-`, with a letter \
     first"
)]
pub struct NameError(pub String);

impl EnvironmentId {
    /// An environment of this app.
    ///
    /// # Errors
    /// For a name that cannot be part of a path, a host name or a cloud's resource name.
    pub fn new(app: &str, name: &str) -> Result<Self, NameError> {
        let is_name = |text: &str| {
            (1..=40).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
                && text.starts_with(|first: char| first.is_ascii_lowercase())
                && !text.ends_with('-')
        };
        if is_name(name) {
            Ok(Self { app: app.to_owned(), name: name.to_owned() })
        } else {
            Err(NameError(name.to_owned()))
        }
    }
}

impl FromStr for EnvironmentId {
    type Err = NameError;

    /// `APP/NAME`, as printed.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (app, name) = text.rsplit_once('/').ok_or_else(|| NameError(text.to_owned()))?;
        Self::new(app, name)
    }
}

/// An environment to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NewEnvironment {
    /// It must not exist yet.
    pub id: EnvironmentId,
    /// The address to listen on; loopback if not set.
    pub listen: Option<IpAddr>,
    /// Its port; if not set, a free one is chosen and kept.
    pub port: Option<u16>,
}

/// A new environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Created {
    /// Its `url` contains the port that was chosen, if it has one.
    pub environment: Environment,
    /// `None` if the target has keys of its own.
    pub key: Option<NewKey>,
}

/// What is known of an environment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Environment {
    /// Its app and name.
    pub id: EnvironmentId,
    /// Where it lives.
    pub target: TargetKind,
    /// When it was made, in milliseconds since 1970; on Runpod, its first known release, or 0.
    pub created_ms: u64,
    /// The address of its routes; `None` if each endpoint has an address of its own.
    pub url: Option<String>,
    /// The live release.
    pub live: Option<ReleaseRecord>,
    /// The endpoints of the live release; empty if there is none.
    pub endpoints: Vec<DeployedEndpoint>,
    /// How often each secret was set.
    pub secrets: BTreeMap<String, u64>,
}

/// A worker type in an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeployedEndpoint {
    /// The worker type's name.
    pub worker: String,
    /// Whether it has a queue or gets requests directly.
    pub kind: EndpointKind,
    /// As the queue API names it.
    pub id: String,
    /// For a queue, the base of `/run` and so on; for a load-balanced one, the base of its paths.
    pub url: String,
    /// The address of its health, if that is not under `url`.
    #[serde(default)]
    pub health: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_wherever_they_are_used() {
        for good in ["production", "a", "pr-123"] {
            assert!(EnvironmentId::new("app", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "1a", "A", "a_b", "a/b", "..", "ä", &"a".repeat(41)] {
            let error = EnvironmentId::new("app", bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{bad}` is not a valid environment name")), "{error}");
        }
        assert_eq!("my-app/pr-1".parse(), EnvironmentId::new("my-app", "pr-1"));
    }
}
