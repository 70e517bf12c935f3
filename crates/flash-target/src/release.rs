//! Releases: their contents and state.
use std::{collections::BTreeMap, path::PathBuf};

use flash_protocol::{
    Program,
    manifest::{Manifest, WorkerType},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything in a release except the values of secrets. Equal ones behave the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseSpec {
    /// The app's own manifest, with the environment's settings for worker types applied and the commands' worker
    /// types added.
    pub manifest: Manifest,
    /// Worker types that are programs.
    pub commands: Vec<CommandSpec>,
    /// What its workers run; empty before it is built.
    pub artifact: ArtifactSpec,
    /// For the history; workers do not depend on it.
    pub origin: BuildOrigin,
    /// Variables of workers that are not secrets.
    pub variables: BTreeMap<String, String>,
    /// How often each secret had been set at that time: shows whether one has changed.
    pub secrets: BTreeMap<String, u64>,
    /// Overrides of the catalog's prices, in dollars per second.
    pub prices: BTreeMap<String, f64>,
    /// How its workers are run and stopped.
    pub runtime: RuntimeSettings,
    /// Settings that only a cloud target uses.
    #[serde(default)]
    pub cloud: CloudSettings,
    /// The models, by worker type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, ModelSpec>,
}

/// The model of a worker type in a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// As the code names it.
    pub reference: String,
    /// The commit, of a model of the Hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// How workers get its files.
    pub delivery: ModelDelivery,
}

/// How workers get the files of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ModelDelivery {
    /// From a directory of this machine, which they share.
    Directory {
        /// An absolute path.
        path: PathBuf,
    },
    /// As a layer of their image.
    Layer,
    /// From the network volume that is mounted.
    Volume,
}

impl ModelSpec {
    /// For people: `org/name@main at 0123456789ab, as a layer of the image`.
    pub fn text(&self) -> String {
        let commit = self.commit.as_ref().and_then(|commit| commit.get(..12));
        let commit = commit.map_or_else(String::new, |commit| format!(" at {commit}"));
        let way = match &self.delivery {
            ModelDelivery::Directory { path } if self.commit.is_none() => {
                format!(", from {}", path.display())
            }
            ModelDelivery::Directory { .. } => ", from this machine's cache".to_owned(),
            ModelDelivery::Layer => ", as a layer of the image".to_owned(),
            ModelDelivery::Volume => ", from the network volume".to_owned(),
        };
        format!("{}{commit}{way}", self.reference)
    }
}

/// Where a release's workers run in a cloud: `[environments.NAME]` of `flash.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudSettings {
    /// Where worker types without data centers of their own may run. Empty: anywhere.
    #[serde(default)]
    pub data_centers: Vec<String>,
    /// IDs of network volumes that every worker has at `/runpod-volume`.
    #[serde(default)]
    pub network_volumes: Vec<String>,
    /// ID of the credential that the cloud pulls images with; `None` for public ones.
    #[serde(default)]
    pub registry_credential: Option<String>,
}

/// A worker type that is a program beside the app.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandSpec {
    /// Its name, scaling and hardware, as configured in the environment.
    pub worker_type: WorkerType,
    /// What it runs. A program with a slash is a path in the workers' directory or an absolute one. An image is named
    /// by its digest.
    #[serde(flatten)]
    pub program: Program,
    /// Its own variables, on top of [`ReleaseSpec::variables`].
    pub environment: BTreeMap<String, String>,
    /// The path that answers when it is ready, for a load-balanced one.
    pub health_path: String,
}

/// What the workers run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ArtifactSpec {
    /// Programs, for a target that starts processes.
    Binaries {
        /// Hash of everything that follows: equal artifacts have equal hashes.
        digest: String,
        /// SHA-256 in hex of the binary of each worker type of the app.
        binaries: BTreeMap<String, String>,
        /// Files in the workers' directory, by relative path.
        files: BTreeMap<String, FileSpec>,
    },
    /// Images in a registry, by worker type, each named by its digest.
    Images {
        /// Hash of all worker types and images: equal artifacts have equal hashes. Empty before the build.
        digest: String,
        /// Names such as `ghcr.io/me/app@sha256:…`, by worker type. Empty before the build.
        images: BTreeMap<String, String>,
    },
}

impl ArtifactSpec {
    /// Identifies an artifact.
    pub fn digest(&self) -> &str {
        match self {
            Self::Binaries { digest, .. } | Self::Images { digest, .. } => digest,
        }
    }
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpec {
    /// SHA-256 in hex.
    pub sha256: String,
    /// Whether workers may run it.
    pub executable: bool,
}

/// The origin of a build.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOrigin {
    /// The short commit ID, followed by `+` if there were uncommitted changes.
    pub commit: Option<String>,
    /// Cargo's profile, such as `release`; empty before the build.
    pub profile: String,
}

/// Options for a release's workers: `[run]` of `flash.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeSettings {
    /// How long running work may take when a release or the service ends.
    pub drain_seconds: u64,
    /// 0: forever.
    pub ping_timeout_seconds: u64,
    /// How long a stopped job may hold its worker; 0: the default of 500.
    pub stop_grace_ms: u64,
    /// Whether workers are limited to their instance's CPUs and memory.
    pub limits: bool,
    /// How many releases can be rolled back to: their artifacts are kept.
    #[serde(default = "default_kept_releases")]
    pub keep_releases: u64,
    /// Networks that webhooks may reach in addition to public addresses.
    #[serde(default)]
    pub webhook_networks: Vec<IpNet>,
    /// Whether the dashboard hides inputs and outputs of jobs.
    #[serde(default)]
    pub hides_values: bool,
}

/// Used unless the project sets it.
pub const DEFAULT_KEPT_RELEASES: u64 = 10;

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
            hides_values: false,
        }
    }
}

/// A build to be sent to a target.
#[derive(Debug, Clone)]
pub struct Shipment {
    /// The release to make from it.
    pub spec: ReleaseSpec,
    /// Where the files of [`ArtifactSpec::Binaries`] are now, by SHA-256. Empty for images.
    pub sources: BTreeMap<String, PathBuf>,
    /// The user's own words for the history; `None` if there are none.
    pub notes: Option<String>,
}

/// One line of the history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// Counts from 1 in each environment.
    pub number: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// What has become of it.
    pub state: ReleaseState,
    /// The digest of its artifact.
    pub digest: String,
    /// Where its build comes from.
    pub origin: BuildOrigin,
    /// The user's own words, from [`Shipment::notes`].
    pub notes: Option<String>,
    /// The release that this one rolled back to.
    pub rollback_of: Option<u64>,
    /// Whether its artifact still exists, so that it can be rolled back to.
    pub kept: bool,
}

/// The state of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum ReleaseState {
    /// Its workers are starting beside the live release.
    Starting,
    /// Traffic goes to it.
    Live,
    /// Another release took over, or it was undeployed.
    Replaced,
    /// It did not become ready, or the service ended in the meantime; it never had traffic.
    Failed {
        /// What went wrong, for people.
        reason: String,
    },
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanOf {
    /// A build that is sent.
    Send,
    /// The way back to an earlier release.
    Rollback,
}

impl PlanOf {
    /// What to do when the environment has changed since the plan was made.
    pub fn make_again(self, environment: &str) -> String {
        match self {
            Self::Send => format!("make a new plan: flash deploy send {environment} --plan"),
            Self::Rollback => format!("make a new plan: flash deploy rollback {environment}"),
        }
    }
}

/// The release that was live before the live one; the last that was, if nothing is live. Releases are made one
/// after the other, so their numbers are the order in which they went live.
pub fn live_before<'a>(
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
pub enum Step {
    /// The artifact is being transferred.
    Sending {
        /// Bytes transferred so far.
        done: u64,
        /// Bytes to transfer in all.
        total: u64,
    },
    /// The release has its number; its workers are starting.
    Starting {
        /// Its number.
        release: u64,
    },
    /// Workers of this type are ready.
    Ready {
        /// The worker type's name.
        worker: String,
    },
    /// Workers of this type start with the first call; none was observed.
    OnCall {
        /// The worker type's name.
        worker: String,
    },
    /// Traffic has moved.
    Live {
        /// The number of the release that gets it.
        release: u64,
    },
    /// The previous release finishes the work it accepted.
    Draining {
        /// The number of the previous release.
        release: u64,
    },
}
