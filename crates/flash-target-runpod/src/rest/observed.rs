//! Workers, health, catalog and bills: everything that is only read.
use serde::{Deserialize, Serialize};

/// The state of a worker. States that the description does not name become `Unknown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkerState {
    Running,
    /// Ready, without work.
    Idle,
    Initializing,
    /// No hardware is available for it right now.
    Throttled,
    Unhealthy,
    #[serde(other)]
    Unknown,
}

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CloudWorker {
    pub id: String,
    pub status: WorkerState,
    /// From an earlier version of the endpoint.
    pub is_stale: bool,
    pub version: Option<u64>,
    pub image: Option<String>,
    pub gpu_type_id: Option<String>,
    pub data_center_id: Option<String>,
    pub started_at: Option<String>,
}

/// The list of workers; only active ones.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointWorkers {
    pub endpoint_version: Option<u64>,
    pub workers: Vec<CloudWorker>,
}

/// Jobs and workers of an endpoint, from the queue's host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    pub jobs: HealthJobs,
    pub workers: HealthWorkers,
}

/// As the field names say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthJobs {
    pub completed: u64,
    pub failed: u64,
    pub in_progress: u64,
    pub in_queue: u64,
}

/// As the field names say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HealthWorkers {
    pub idle: u32,
    pub initializing: u32,
    pub ready: u32,
    pub running: u32,
    pub throttled: u32,
    pub unhealthy: u32,
}

/// The stock of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Stock {
    None,
    Low,
    Medium,
    High,
}

/// The stock in one data center, or of one kind of hardware there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockOf {
    pub id: String,
    pub name: String,
    pub availability: Stock,
}

/// A GPU type of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogGpu {
    pub id: String,
    pub name: String,
    pub pool: Option<String>,
    /// GB.
    pub memory: u32,
    pub price: GpuPrice,
    pub availability: Option<Stock>,
    #[serde(default)]
    pub data_centers: Vec<StockOf>,
}

/// Dollars per hour for one GPU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GpuPrice {
    pub serverless: Option<f64>,
}

/// A CPU flavor of the catalogue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogCpu {
    pub id: String,
    pub name: String,
    pub vcpu: VcpuRange,
    pub ram_gb_per_vcpu: f64,
    pub price: CpuPrice,
    pub availability: Option<Stock>,
    #[serde(default)]
    pub data_centers: Vec<StockOf>,
}

/// The possible numbers of vCPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuRange {
    pub min: u32,
    pub max: u32,
}

/// Dollars for one vCPU; the description does not name the unit of time, its examples suggest an hour.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuPrice {
    pub serverless_per_vcpu: f64,
}

/// A data center of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogDataCenter {
    pub id: String,
    pub name: String,
    pub region: String,
    pub network_volume_types: Vec<String>,
    #[serde(default)]
    pub gpu_availability: Vec<StockOf>,
    #[serde(default)]
    pub cpu_availability: Vec<StockOf>,
}

/// Which bills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillingQuery {
    /// RFC 3339.
    pub start: String,
    pub end: String,
    /// `hour`, `day`, …
    pub bucket: &'static str,
    pub endpoint: Option<String>,
}

/// The cost of an endpoint in a period, in dollars.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BillingRecord {
    pub start_time: String,
    pub end_time: String,
    pub serverless_id: String,
    pub total_amount: f64,
}
