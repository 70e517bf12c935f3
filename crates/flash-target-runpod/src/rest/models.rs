//! Endpoints and templates, as in the API's description (`info.version` 2.0.0).
//!
//! Reading is lenient: only fields that the description calls required are required. Sending is strict: exactly
//! what the description allows, because unknown properties are rejected.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How requests reach an endpoint's workers. Can never be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndpointType {
    Queue,
    LoadBalancer,
}

/// Whether stopped workers are kept for quick starts. Off if left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Flashboot {
    Off,
    #[serde(rename = "FLASHBOOT")]
    On,
    #[serde(rename = "PRIORITY_FLASHBOOT")]
    Priority,
}

/// When workers are added.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum Scaling {
    /// When a request has waited this many seconds; only for queues.
    QueueDelay { queue_delay: f64 },
    /// One worker per this many requests.
    RequestCount { request_count: u32 },
}

/// Limits of the number of workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerRange {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Seconds, 1 to 3600. Rejected for queues that scale by request count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
}

/// GPUs, any of which may be used.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GpuChoice {
    /// At least one, such as `ADA_24`.
    pub pools: Vec<String>,
    /// Types of these pools to exclude. Cleared by an update that names pools without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded_types: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_cuda_versions: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_cuda_version: Option<String>,
}

/// A CPU flavor and size. Its memory is the flavor's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuChoice {
    /// Such as `cpu3g`.
    pub id: String,
    /// A power of two, at least 2.
    pub vcpu_count: u32,
}

/// Where to send requests. A queue has `run` and so on, a load balancer has `base`; both have `health`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EndpointUrls {
    pub run: Option<String>,
    pub base: Option<String>,
    pub health: Option<String>,
    pub purge_queue: Option<String>,
}

/// An existing serverless endpoint.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    pub id: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Option<EndpointType>,
    pub request_urls: Option<EndpointUrls>,
    pub image: Option<String>,
    pub args: Option<String>,
    pub disk: Option<u32>,
    pub env: Option<BTreeMap<String, String>>,
    pub ports: Option<Vec<String>>,
    pub registry: Option<String>,
    pub gpu: Option<GpuChoice>,
    pub cpu: Option<Vec<CpuChoice>>,
    pub workers: WorkerRange,
    pub scaling: Scaling,
    pub data_center_ids: Vec<String>,
    pub network_volumes: Vec<String>,
    /// The time limit of a request, in milliseconds.
    pub timeout: u64,
    pub flashboot: Flashboot,
    /// RFC 3339.
    pub created_at: String,
}

/// An endpoint to create, with exactly one of `gpu` and `cpu`. `flashboot` and `timeout` are not optional here: the
/// API's defaults differ from its description.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CreateEndpoint {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: EndpointType,
    pub image: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// GB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<u32>,
    pub env: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// ID of a registry credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Vec<CpuChoice>>,
    pub workers: WorkerRange,
    pub scaling: Scaling,
    pub data_center_ids: Vec<String>,
    pub network_volumes: Vec<String>,
    /// The time limit of a request, in milliseconds.
    pub timeout: u64,
    pub flashboot: Flashboot,
}

/// Fields of an endpoint to change; `None` leaves a field unchanged. `env`, `cpu` and `gpu.pools` are replaced as a
/// whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct UpdateEndpoint {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<Vec<String>>,
    /// `Some(None)` removes the credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registry: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Vec<CpuChoice>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkerRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_center_ids: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_volumes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flashboot: Option<Flashboot>,
}

/// An existing template, with the fields used here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Template {
    pub id: String,
    pub name: String,
    pub image: String,
    pub env: BTreeMap<String, String>,
    pub serverless: bool,
    #[serde(default)]
    pub public: bool,
}

/// A private template to create.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CreateTemplate {
    pub name: String,
    pub image: String,
    pub env: BTreeMap<String, String>,
    pub serverless: bool,
}

/// Fields of a template to change; `env` is replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UpdateTemplate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env: Option<BTreeMap<String, String>>,
}
