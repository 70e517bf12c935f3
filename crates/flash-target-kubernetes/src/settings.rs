//! How an environment uses its cluster, and what its platform is told of it.
use std::collections::BTreeMap;

use flash_target::EnvironmentId;
use serde::{Deserialize, Serialize};

/// The label of nodes that names their GPU, as NVIDIA's device plugin sets it.
pub const GPU_LABEL: &str = "nvidia.com/gpu.product";

/// The longest drain time: pods get some more to end.
pub(crate) const LONGEST_DRAIN_SECONDS: u64 = 600;

/// `[environments.NAME.kubernetes]` of `flash.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// The context of the kubeconfig; the current one, if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// The namespace; that of the context, if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The class of the volume with jobs and logs; the cluster's default, if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// The size of that volume; 10Gi if none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<String>,
    /// The secret by which nodes pull images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret: Option<String>,
    /// The runtime class of workers with GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class: Option<String>,
    /// The priority class of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority_class: Option<String>,
    /// An existing service account for the platform, where this user may make no roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The host name of an Ingress; none is made without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// How much of an instance's processors a worker's pod asks for, in percent: 100 if not given. It may use more where a
    /// node has more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_request_percent: Option<u32>,
    /// The value of [`GPU_LABEL`] on nodes, by the ID of a GPU type, where it is not what NVIDIA's plugin sets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gpu_products: BTreeMap<String, String>,
}

/// The variable with [`PlatformSettings`], as JSON.
pub(crate) const PLATFORM: &str = "FLASH_CLUSTER";

/// The variable with the key by which workers join the platform.
pub(crate) const PLATFORM_JOIN_KEY: &str = "FLASH_CLUSTER_JOIN_KEY";

/// What a platform in a cluster knows of its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlatformSettings {
    /// The environment that it serves.
    pub id: EnvironmentId,
    /// The name of its objects.
    pub name: String,
    pub namespace: String,
    /// The identity of the object that owns all others.
    pub root_uid: String,
    /// Its own URL for pods.
    pub url: String,
    pub settings: ClusterSettings,
}
