//! A small app and its releases, for tests of whatever compares or stores releases.
use std::collections::BTreeMap;

use flash_protocol::{
    CpuInstance,
    manifest::{
        App, ArgumentEntry, ArgumentSource, ComputeEntry, EndpointKind, FunctionEntry, Manifest, RouteEntry,
        ScalerEntry, WorkerType,
    },
};
use serde_json::{Map, Value, json};

use flash_target::{ArtifactSpec, BuildOrigin, ReleaseSpec, RuntimeSettings};

/// A worker type with one CPU flavor and no settings of its own.
pub fn worker(name: &str, kind: EndpointKind) -> WorkerType {
    WorkerType {
        name: name.to_owned(),
        kind,
        compute: ComputeEntry::Cpu { instances: vec![CpuInstance::Cpu3g_2_8] },
        workers_min: 0,
        workers_max: 3,
        idle_timeout_seconds: 5,
        execution_timeout_seconds: 600,
        max_concurrency: kind.default_concurrency(),
        scaler: ScalerEntry::QueueDelay { seconds: 4 },
        buffer: 0,
        lifetime: Default::default(),
        data_centers: Vec::new(),
        disk_gib: None,
        shm_mib: None,
        vram_gib: None,
        http: None,
        max_body_mib: None,
        request_timeout_seconds: None,
        model: None,
        start_timeout_seconds: None,
    }
}

/// A queue function with this input.
pub fn function(name: &str, worker: &str, input: Value) -> FunctionEntry {
    FunctionEntry {
        name: name.to_owned(),
        owner: None,
        module: "main".to_owned(),
        worker: worker.to_owned(),
        file: "src/main.rs".to_owned(),
        line: 1,
        docs: String::new(),
        route: None,
        arguments: Vec::new(),
        input: Some(input),
        output: json!({ "type": "object", "properties": { "label": { "type": "string" } } }),
        streams: false,
        settings: Default::default(),
        raw_body: false,
        body_type: None,
        headers: Vec::new(),
        raw_output: false,
        output_type: None,
    }
}

/// A route of the worker type `web`.
pub fn route(method: &str, path: &str) -> FunctionEntry {
    FunctionEntry {
        route: Some(RouteEntry { method: method.to_owned(), path: path.to_owned() }),
        arguments: vec![ArgumentEntry {
            name: "text".to_owned(),
            source: ArgumentSource::Body,
            required: true,
            schema: json!({ "type": "string" }),
        }],
        ..function("ask", "web", json!({ "type": "object" }))
    }
}

/// An app with a queue function and a route, each on its own worker type.
pub fn manifest() -> Manifest {
    let input =
        json!({ "type": "object", "required": ["text"], "properties": { "text": { "type": "string" } } });
    Manifest {
        version: 1,
        app: App { name: "app".to_owned(), version: "1.0.0".to_owned() },
        sdk_version: "0.1.0".to_owned(),
        workers: vec![worker("batch", EndpointKind::Queue), worker("web", EndpointKind::LoadBalanced)],
        functions: vec![function("clean", "batch", input), route("POST", "/ask")],
        definitions: Map::new(),
    }
}

/// A release of that app.
pub fn spec() -> ReleaseSpec {
    ReleaseSpec {
        manifest: manifest(),
        commands: Vec::new(),
        artifact: ArtifactSpec::Binaries {
            digest: "1".to_owned(),
            binaries: BTreeMap::new(),
            files: BTreeMap::new(),
        },
        origin: BuildOrigin::default(),
        variables: BTreeMap::new(),
        secrets: BTreeMap::new(),
        prices: BTreeMap::new(),
        runtime: RuntimeSettings {
            drain_seconds: 10,
            ping_timeout_seconds: 15,
            stop_grace_ms: 500,
            limits: true,
            keep_releases: 10,
            webhook_networks: Vec::new(),
            hides_values: false,
        },
        cloud: Default::default(),
        models: Default::default(),
    }
}
