//! The manifest: how an app binary describes itself. Versioned JSON.
//!
//! It is all that the CLI and the platform know about user code.
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    batch::BatchLimits,
    catalogue::{
        ComputeCapability, CpuInstance, DataCenter, GpuPool, GpuType, NanoDollars, PriceKey, PriceList,
        capabilities_of,
    },
    model::ModelEntry,
    resource::{Compute, Lifetime, Scaler},
    retries::Retries,
    schedule::Schedule,
};

/// The manifest format that this crate writes and reads.
pub const MANIFEST_VERSION: u32 = 1;

/// A mark in every binary whose `main` has `#[flash_sdk::main]`. A binary without it would run its own `main` when
/// asked for a manifest, so it is never asked.
pub const ENTRY_MARK: EntryMark = *b"flash-sdk: `main` has #[flash_sdk::main] (v1)";

/// The type of [`ENTRY_MARK`].
pub type EntryMark = [u8; 45];

/// The description of an app binary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The format, [`MANIFEST_VERSION`].
    pub version: u32,
    /// The app.
    pub app: App,
    /// Version of the SDK that the binary was built with.
    pub sdk_version: String,
    /// Worker types, by name.
    pub workers: Vec<WorkerType>,
    /// Functions, by file and line.
    pub functions: Vec<FunctionEntry>,
    /// JSON schemas that functions refer to as `#/$defs/NAME`.
    #[serde(default, rename = "$defs")]
    pub definitions: serde_json::Map<String, Value>,
}

impl Manifest {
    /// The worker type with this name.
    pub fn worker(&self, name: &str) -> Option<&WorkerType> {
        self.workers.iter().find(|worker| worker.name == name)
    }

    /// The functions on this worker type, in source order.
    pub fn functions_of<'a>(&'a self, worker: &'a str) -> impl Iterator<Item = &'a FunctionEntry> {
        self.functions.iter().filter(move |function| function.worker == worker)
    }

    /// Worker types without functions and router: separate programs that the project adds to the app.
    pub fn commands(&self) -> impl Iterator<Item = &WorkerType> {
        let has_code =
            |worker: &WorkerType| worker.http.is_some() || self.functions_of(&worker.name).next().is_some();
        self.workers.iter().filter(move |worker| !has_code(worker))
    }

    /// The models that worker types serve by OpenAI's API, each with its worker type.
    pub fn models(&self) -> impl Iterator<Item = (&str, &WorkerType)> {
        self.routers().flat_map(|(worker, http)| http.models.iter().map(move |name| (name.as_str(), worker)))
    }

    /// The worker types that have a router.
    pub fn routers(&self) -> impl Iterator<Item = (&WorkerType, &HttpEntry)> {
        self.workers.iter().filter_map(|worker| Some((worker, worker.http.as_ref()?)))
    }
}

/// The user's package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Package name.
    pub name: String,
    /// Package version.
    pub version: String,
}

/// How requests reach a worker type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndpointKind {
    /// Jobs in a queue.
    Queue,
    /// HTTP requests, spread over workers.
    LoadBalanced,
}

impl EndpointKind {
    /// Default number of jobs or requests that one worker runs at once.
    pub const fn default_concurrency(self) -> u32 {
        match self {
            Self::Queue => 1,
            Self::LoadBalanced => 64,
        }
    }

    /// Default scaler: how the number of workers follows the load.
    pub const fn default_scaler(self) -> ScalerEntry {
        match self {
            Self::Queue => ScalerEntry::QueueDelay { seconds: 4 },
            Self::LoadBalanced => ScalerEntry::RequestCount { requests: 4 },
        }
    }
}

/// The hardware of a worker type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ComputeEntry {
    /// CPU instances in order of preference.
    Cpu {
        /// One or more.
        instances: Vec<CpuInstance>,
    },
    /// GPUs.
    Gpu {
        /// Pools in order of preference.
        pools: Vec<GpuPool>,
        /// Single GPU types, in addition to the pools.
        #[serde(default)]
        types: Vec<GpuType>,
        /// GPUs per worker.
        count: u32,
    },
}

impl From<Compute> for ComputeEntry {
    fn from(compute: Compute) -> Self {
        match compute {
            Compute::Cpu(instances) => Self::Cpu { instances: instances.to_vec() },
            Compute::Gpu { pools, types, count } => {
                Self::Gpu { pools: pools.to_vec(), types: types.to_vec(), count }
            }
        }
    }
}

impl ComputeEntry {
    /// What its price is kept under: the first choice, and how many of it.
    pub fn price_key(&self) -> Option<(PriceKey, u32)> {
        match self {
            Self::Cpu { instances } => instances.first().map(|cpu| (PriceKey::Cpu(*cpu), 1)),
            Self::Gpu { pools, types, count } => {
                let pool = pools.first().copied().or_else(|| types.first().map(|gpu| gpu.pool()))?;
                Some((PriceKey::Gpu(pool), *count))
            }
        }
    }

    /// The price of a worker per second; `None` if no price is published.
    pub fn price_per_second(&self, prices: &PriceList) -> Option<NanoDollars> {
        let (key, count) = self.price_key()?;
        prices.per_second(key).map(|price| NanoDollars(price.0.saturating_mul(u64::from(count))))
    }

    /// The compute capabilities of the GPUs that a worker may get, sorted, each once; none for a CPU. What a
    /// build compiles for: this list, and never what GPU the building machine has.
    pub fn compute_capabilities(&self) -> Vec<ComputeCapability> {
        match self {
            Self::Cpu { .. } => Vec::new(),
            Self::Gpu { pools, types, .. } => {
                capabilities_of(pools.iter().flat_map(|pool| pool.types()).chain(types).copied())
            }
        }
    }

    /// GB of memory that each of its GPUs has at least; `None` for a CPU.
    pub fn vram_gb(&self) -> Option<u32> {
        match self {
            Self::Cpu { .. } => None,
            Self::Gpu { pools, types, .. } => {
                let of_pools = pools.iter().map(|pool| pool.vram_gb());
                of_pools.chain(types.iter().map(|gpu| gpu.vram_gb())).min()
            }
        }
    }

    /// For people: `CPU cpu3g-2-8` or `GPU ADA_24`.
    pub fn label(&self) -> String {
        match self {
            Self::Cpu { instances } => {
                format!("CPU {}", instances.iter().map(|cpu| cpu.id()).collect::<Vec<_>>().join("|"))
            }
            Self::Gpu { pools, types, count } => {
                let names = pools.iter().map(|pool| pool.id()).chain(types.iter().map(|gpu| gpu.id()));
                let times = if *count == 1 { String::new() } else { format!("{count} × ") };
                format!("GPU {times}{}", names.collect::<Vec<_>>().join("|"))
            }
        }
    }
}

/// How the number of workers follows the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ScalerEntry {
    /// One more worker whenever a job has waited this long.
    QueueDelay {
        /// Seconds.
        seconds: u32,
    },
    /// Runs `ceil((queued + in progress) / requests)` workers.
    RequestCount {
        /// Requests per worker.
        requests: u32,
    },
}

impl From<Scaler> for ScalerEntry {
    fn from(scaler: Scaler) -> Self {
        match scaler {
            Scaler::QueueDelay { seconds } => Self::QueueDelay { seconds },
            Scaler::RequestCount { requests } => Self::RequestCount { requests },
        }
    }
}

/// A worker type with all settings, including defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerType {
    /// Its name.
    pub name: String,
    /// How requests reach it.
    pub kind: EndpointKind,
    /// Its hardware.
    pub compute: ComputeEntry,
    /// Minimum number of workers, kept running without load.
    pub workers_min: u32,
    /// Maximum number of workers.
    pub workers_max: u32,
    /// Seconds without work before a worker above the minimum stops.
    pub idle_timeout_seconds: u32,
    /// Maximum seconds per job or request.
    pub execution_timeout_seconds: u32,
    /// Seconds that a worker may take to become ready; `None` for the default of where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timeout_seconds: Option<u32>,
    /// Jobs or requests that one worker runs at once.
    pub max_concurrency: u32,
    /// How the number of workers follows the load.
    pub scaler: ScalerEntry,
    /// Idle workers beyond what the load needs, while there is load.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub buffer: u32,
    /// How many jobs a worker takes.
    #[serde(default, skip_serializing_if = "Lifetime::is_default")]
    pub lifetime: Lifetime,
    /// Data centers that it may run in; empty for any.
    #[serde(default)]
    pub data_centers: Vec<DataCenter>,
    /// GB of disk of a worker; the provider's share if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_gib: Option<u32>,
    /// MiB of shared memory in a worker's container; the engine's default if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_mib: Option<u32>,
    /// GB of memory that a worker needs on each of its GPUs; not known if not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vram_gib: Option<u32>,
    /// The router that answers for this worker type, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpEntry>,
    /// Maximum size in MiB of a request's body, and of an answer's; `None` for [`WorkerType::DEFAULT_BODY_BYTES`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_body_mib: Option<u32>,
    /// Maximum seconds from sending a request to a worker until the last byte of its answer; of a stream or an
    /// upgraded connection, until its next byte. `None` for [`WorkerType::DEFAULT_REQUEST_TIMEOUT`], or for
    /// [`WorkerType::MODEL_REQUEST_TIMEOUT`] if it serves models.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_timeout_seconds: Option<u32>,
    /// The model that its workers load, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelEntry>,
}

impl WorkerType {
    /// Maximum bytes of a body in each direction, unless set: the provider's limit.
    pub const DEFAULT_BODY_BYTES: usize = 30_000_000;
    /// Maximum seconds of a request, unless set: the provider's limit.
    pub const DEFAULT_REQUEST_TIMEOUT: u32 = 330;
    /// Maximum seconds of a request to a worker type that serves models, unless set: as long as the official clients of
    /// OpenAI's API wait.
    pub const MODEL_REQUEST_TIMEOUT: u32 = 600;

    /// Seconds that a worker on this machine may take to become ready, unless set.
    pub const DEFAULT_START_TIMEOUT: u32 = 7 * 60;
    /// Seconds that callers wait for a worker, unless the worker type sets a longer start timeout.
    const START_ALLOWANCE: u32 = 120;

    /// How long a worker on this machine may take to become ready.
    pub fn start_timeout(&self) -> Duration {
        Duration::from_secs(self.start_timeout_seconds.unwrap_or(Self::DEFAULT_START_TIMEOUT).into())
    }

    /// How long a caller waits for a worker, beyond the time that its job or request takes: 120 s, or the start
    /// timeout if a longer one is set.
    pub fn start_allowance(&self) -> Duration {
        let set = self.start_timeout_seconds.unwrap_or(0);
        Duration::from_secs(set.max(Self::START_ALLOWANCE).into())
    }

    /// Maximum bytes of a body in each direction.
    pub fn max_body_bytes(&self) -> usize {
        let set = self.max_body_mib.map(|mib| (mib as usize).saturating_mul(1024 * 1024));
        set.unwrap_or(Self::DEFAULT_BODY_BYTES)
    }

    /// Maximum seconds of a request, or between two bytes of a stream.
    pub fn request_timeout(&self) -> Duration {
        let unset = match self.serves_models() {
            true => Self::MODEL_REQUEST_TIMEOUT,
            false => Self::DEFAULT_REQUEST_TIMEOUT,
        };
        Duration::from_secs(self.request_timeout_seconds.unwrap_or(unset).into())
    }

    /// Whether it has models behind OpenAI's API.
    pub fn serves_models(&self) -> bool {
        self.http.as_ref().is_some_and(|http| !http.models.is_empty())
    }
}

/// The paths of OpenAI's API are this one and those below it, and [`OPENAI_HEALTH`].
pub const OPENAI_PREFIX: &str = "/v1";

/// The list of models.
const OPENAI_MODELS: &str = "/v1/models";

/// Where servers of OpenAI's API say that they are there.
pub const OPENAI_HEALTH: &str = "/health";

/// The router of a worker type: which paths are its own, and which function makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpEntry {
    /// It owns this path and everything below it; `None` for all paths that nothing else takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Names of the models for which it answers OpenAI's API. If there are any, requests reach it by these names, and
    /// its prefix is [`OPENAI_PREFIX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The function that makes the router: `Type::method` or `function`.
    pub function: String,
    /// Source file, as the compiler names it.
    pub file: String,
    /// Line of the function's name.
    pub line: u32,
    /// Its doc comment.
    #[serde(default)]
    pub docs: String,
}

impl HttpEntry {
    /// Whether a path is one of its own. Without a prefix, all are.
    pub fn owns(&self, path: &str) -> bool {
        self.prefix.as_deref().is_none_or(|prefix| is_at_or_below(path, prefix))
            || (!self.models.is_empty() && path == OPENAI_HEALTH)
    }

    /// Its paths, for people: `/chat`, or `/` for all.
    pub fn path(&self) -> &str {
        self.prefix.as_deref().unwrap_or("/")
    }

    /// A path that it has: the list of models. `None` where only its code knows its paths.
    pub fn example_path(&self) -> Option<&'static str> {
        (!self.models.is_empty()).then_some(OPENAI_MODELS)
    }

    /// Source location for messages: `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

/// Whether a path is this prefix or below it, by whole segments.
fn is_at_or_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Where an argument of a route comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentSource {
    /// A `{name}` in the path.
    Path,
    /// `?name=` in the query.
    Query,
    /// A field of the JSON body.
    Body,
    /// All headers of the request. Such an argument is in no manifest.
    Headers,
}

/// One argument of a function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArgumentEntry {
    /// Its name in the code.
    pub name: String,
    /// Where a route reads it from; `Body` for a job.
    pub source: ArgumentSource,
    /// Whether it is required.
    pub required: bool,
    /// Its JSON schema.
    pub schema: Value,
}

/// A header that a route takes as an argument of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderEntry {
    /// Its name, in lower case.
    pub name: String,
    /// Whether it is required.
    pub required: bool,
}

/// The HTTP method and path of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RouteEntry {
    /// The method, in upper case.
    pub method: String,
    /// The path, with `{name}` for path parameters.
    pub path: String,
}

/// One function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FunctionEntry {
    /// Its name in the code.
    pub name: String,
    /// The type, if it is a method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Module path below the crate with `/`: `cpu_worker`; `main` for the crate root.
    pub module: String,
    /// The worker type that it runs on.
    pub worker: String,
    /// Source file, as the compiler names it.
    pub file: String,
    /// Line of the function's name.
    pub line: u32,
    /// Its doc comment.
    #[serde(default)]
    pub docs: String,
    /// Method and path, for a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteEntry>,
    /// Its arguments, in order.
    pub arguments: Vec<ArgumentEntry>,
    /// Schema of the JSON input: a job's `input`, or a route's body. `None` if it reads none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Whether the body of a route is its one argument in the body, as raw bytes of any content type.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw_body: bool,
    /// The content type of a raw body, if it is not just bytes: `multipart/form-data`, or `*/*` for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_type: Option<String>,
    /// The headers that are arguments of a route by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderEntry>,
    /// Schema of the result, or of one chunk if it streams.
    pub output: Value,
    /// Whether the body of a route's answer is the raw bytes of the result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub raw_output: bool,
    /// The content type of a raw answer, if it is not just bytes: `*/*` for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_type: Option<String>,
    /// Whether it answers with a stream of chunks.
    #[serde(default)]
    pub streams: bool,
    /// What is set for this function alone, as opposed to its worker type.
    #[serde(default, skip_serializing_if = "FunctionSettings::is_default")]
    pub settings: FunctionSettings,
}

/// The settings of one function. All are optional, so that an older manifest can be read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionSettings {
    /// How often it runs again after a retryable error; `None` for never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// When the platform runs it by itself; `None` if only callers run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Within which limits its calls run together; `None`: each runs by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchLimits>,
    /// An input that its author chose, for people who try it: of a job, or the body of a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<Value>,
    /// How many events a streaming route keeps for a client that reconnects; `None` for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<u32>,
}

impl FunctionSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The content type of a form.
pub const FORM: &str = "multipart/form-data";

impl FunctionEntry {
    /// Whether the body of a route is a form.
    pub fn takes_form(&self) -> bool {
        self.body_type.as_deref() == Some(FORM)
    }

    /// `Type::method` or `function`, as code calls it.
    pub fn call_name(&self) -> String {
        match &self.owner {
            Some(owner) => format!("{owner}::{}", self.name),
            None => self.name.clone(),
        }
    }

    /// Source location for messages: `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_owns_its_prefix_by_whole_segments_or_everything() {
        let router = |prefix: Option<&str>| HttpEntry {
            prefix: prefix.map(str::to_owned),
            models: Vec::new(),
            function: "web".into(),
            file: String::new(),
            line: 0,
            docs: String::new(),
        };
        let chat = router(Some("/chat"));
        for (path, is_own) in
            [("/chat", true), ("/chat/", true), ("/chat/a/b", true), ("/chats", false), ("/a/chat", false)]
        {
            assert_eq!(chat.owns(path), is_own, "{path}");
        }
        assert!(router(None).owns("/anything"));
        let models = HttpEntry { models: vec!["m".to_owned()], ..router(Some(OPENAI_PREFIX)) };
        assert!(models.owns("/v1/models") && models.owns("/health") && !models.owns("/health/x"));
        assert!(!chat.owns("/health"));
    }

    #[test]
    fn a_request_to_models_may_take_as_long_as_clients_wait_unless_the_worker_type_says_otherwise() {
        let mut worker: WorkerType = serde_json::from_value(serde_json::json!({
            "name": "w", "kind": "load_balanced", "compute": { "type": "cpu", "instances": [] }, "workers_min": 0,
            "workers_max": 1, "idle_timeout_seconds": 5, "execution_timeout_seconds": 600, "max_concurrency": 1,
            "scaler": { "type": "request_count", "requests": 1 },
            "http": { "models": [], "function": "f", "file": "", "line": 1 }
        }))
        .unwrap();
        assert_eq!(worker.request_timeout().as_secs(), 330);
        worker.http.as_mut().unwrap().models.push("m".to_owned());
        assert_eq!(worker.request_timeout().as_secs(), 600);
        worker.request_timeout_seconds = Some(20);
        assert_eq!(worker.request_timeout().as_secs(), 20);
    }

    #[test]
    fn a_worker_type_needs_the_capabilities_of_all_its_gpus() {
        let gpu = |pools: &[GpuPool], types: &[GpuType]| {
            let compute = ComputeEntry::Gpu { pools: pools.to_vec(), types: types.to_vec(), count: 1 };
            compute.compute_capabilities().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(gpu(&[GpuPool::Ada24], &[]), ["8.9"]);
        assert_eq!(gpu(&[GpuPool::Blackwell180, GpuPool::Ampere16], &[GpuType::L4]), ["8.6", "8.9", "10.0"]);
        assert_eq!(gpu(&[], &[GpuType::H200]), ["9.0"]);
        let cpu = ComputeEntry::Cpu { instances: vec![CpuInstance::Cpu3g_2_8] };
        assert_eq!(cpu.compute_capabilities(), []);
    }
}
