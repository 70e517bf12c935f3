//! Releases: what one consists of, and what became of it.
use std::{collections::BTreeMap, path::PathBuf};

use flash_sdk::manifest::{Manifest, WorkerType};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything that a release is, but for the values of secrets. Two equal ones behave the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReleaseSpec {
    /// As the app described itself, with the environment's own settings of worker types applied and its
    /// commands' worker types added.
    pub manifest: Manifest,
    /// Worker types that are programs of their own.
    pub commands: Vec<CommandSpec>,
    pub artifact: ArtifactSpec,
    pub origin: BuildOrigin,
    /// Variables of workers that are no secrets.
    pub variables: BTreeMap<String, String>,
    /// How often each secret had been set when this was made: what tells that one has changed.
    pub secrets: BTreeMap<String, u64>,
    /// Overrides of the catalogue's prices, dollars per second.
    pub prices: BTreeMap<String, f64>,
    pub runtime: RuntimeSettings,
    /// What only a target in the cloud takes notice of.
    #[serde(default)]
    pub cloud: CloudSettings,
}

/// How the workers of a release are placed in a cloud: `[environments.NAME]` of `flash.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CloudSettings {
    /// Where worker types may run that name no data centers themselves. Empty: anywhere.
    #[serde(default)]
    pub data_centers: Vec<String>,
    /// Ids of network volumes that every worker has at `/runpod-volume`.
    #[serde(default)]
    pub network_volumes: Vec<String>,
    /// Id of the login with which the cloud pulls images; `None` for public ones.
    #[serde(default)]
    pub registry_credential: Option<String>,
}

/// A worker type that is a program beside the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommandSpec {
    pub worker_type: WorkerType,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: BTreeMap<String, String>,
    pub health_path: String,
}

/// What the workers are made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ArtifactSpec {
    /// Programs, for a target that starts processes.
    Binaries {
        /// Hash of all that follows: equal artifacts have equal ones.
        digest: String,
        /// SHA-256 in hex of the binary of each worker type of the app.
        binaries: BTreeMap<String, String>,
        /// Files that workers find in their directory, by relative path.
        files: BTreeMap<String, FileSpec>,
    },
    /// Images in a registry, by worker type, each named by its digest.
    Images { digest: String, images: BTreeMap<String, String> },
}

impl ArtifactSpec {
    /// Tells artifacts apart.
    pub(crate) fn digest(&self) -> &str {
        match self {
            Self::Binaries { digest, .. } | Self::Images { digest, .. } => digest,
        }
    }
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileSpec {
    /// SHA-256 in hex.
    pub sha256: String,
    pub executable: bool,
}

/// What a build was made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildOrigin {
    /// The commit, in short; with `+` after it when there were changes.
    pub commit: Option<String>,
    pub profile: String,
}

/// How the workers of a release are treated: `[run]` of `flash.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuntimeSettings {
    pub drain_seconds: u64,
    /// 0: for ever.
    pub ping_timeout_seconds: u64,
    pub stop_grace_ms: u64,
    pub limits: bool,
    /// So many releases can be gone back to: their artifacts are kept.
    #[serde(default = "default_kept_releases")]
    pub keep_releases: u64,
    /// Networks that webhooks may reach beside public addresses.
    #[serde(default)]
    pub webhook_networks: Vec<IpNet>,
}

/// Unless the project says otherwise.
pub(crate) const DEFAULT_KEPT_RELEASES: u64 = 10;

fn default_kept_releases() -> u64 {
    DEFAULT_KEPT_RELEASES
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self {
            drain_seconds: 10,
            ping_timeout_seconds: 15,
            stop_grace_ms: 500,
            limits: true,
            keep_releases: DEFAULT_KEPT_RELEASES,
            webhook_networks: Vec::new(),
        }
    }
}

/// A build on its way to a target.
#[derive(Debug, Clone)]
pub(crate) struct Shipment {
    pub spec: ReleaseSpec,
    /// Where the files of [`ArtifactSpec::Binaries`] lie at this moment, by SHA-256. Empty for images.
    pub sources: BTreeMap<String, PathBuf>,
    pub notes: Option<String>,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReleaseRecord {
    /// From 1 on, in each environment.
    pub number: u64,
    pub created_ms: u64,
    pub state: ReleaseState,
    /// Of its artifact.
    pub digest: String,
    pub origin: BuildOrigin,
    pub notes: Option<String>,
    /// The release that this one went back to.
    pub rollback_of: Option<u64>,
    /// Whether its artifact is still there to go back to.
    pub kept: bool,
}

/// Where a release is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum ReleaseState {
    /// Its workers start beside the live release.
    Starting,
    /// Traffic goes to it.
    Live,
    /// Another one took over, or it was undeployed.
    Replaced,
    /// It did not become ready, or the service ended meanwhile; it never had traffic.
    Failed { reason: String },
}

/// The release that was live before the one that is; the last that was, where nothing is live. Releases are made one
/// after the other, so the order of their numbers is the order in which they went live.
pub(crate) fn live_before<'a>(
    history: impl IntoIterator<Item = &'a ReleaseRecord> + Clone,
) -> Option<&'a ReleaseRecord> {
    let live = history.clone().into_iter().find(|record| record.state == ReleaseState::Live);
    let is_before = |record: &&ReleaseRecord| {
        record.state == ReleaseState::Replaced && live.is_none_or(|live| record.number < live.number)
    };
    history.into_iter().filter(is_before).max_by_key(|record| record.number)
}

/// A step of a change, as it happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(crate) enum Step {
    /// So many bytes of so many are where the target wants them.
    Sending { done: u64, total: u64 },
    /// The release has its number; its workers start.
    Starting { release: u64 },
    /// Workers of this type are ready.
    Ready { worker: String },
    /// Workers of this type start with the first call; none was seen.
    OnCall { worker: String },
    /// Traffic has moved.
    Live { release: u64 },
    /// The release before finishes what it has accepted.
    Draining { release: u64 },
}
