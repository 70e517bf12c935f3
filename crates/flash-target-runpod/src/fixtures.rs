//! The example of mixed workers as a release for Runpod, for the tests of this crate.
use std::collections::BTreeMap;

use flash_protocol::{
    CpuInstance, GpuPool,
    manifest::{App, ComputeEntry, EndpointKind, Manifest, WorkerType},
};
use flash_target::{ArtifactSpec, BuildOrigin, CloudSettings, EnvironmentId, ReleaseSpec, RuntimeSettings};

use super::{
    desired::{Desired, desired},
    rest::Endpoint,
};

/// Its worker types.
pub(super) const WORKERS: [&str; 4] =
    ["classify_pipeline", "inference_worker", "postprocess_worker", "preprocess_worker"];

pub(super) fn id() -> EnvironmentId {
    EnvironmentId::new("mixed", "production").unwrap()
}

fn cpu(cpu: CpuInstance) -> ComputeEntry {
    ComputeEntry::Cpu { instances: vec![cpu] }
}

fn worker(name: &str, compute: ComputeEntry, workers: (u32, u32), seconds: (u32, u32)) -> WorkerType {
    let kind = if name == "classify_pipeline" { EndpointKind::LoadBalanced } else { EndpointKind::Queue };
    WorkerType {
        name: name.to_owned(),
        kind,
        compute,
        workers_min: workers.0,
        workers_max: workers.1,
        idle_timeout_seconds: seconds.0,
        execution_timeout_seconds: seconds.1,
        max_concurrency: kind.default_concurrency(),
        scaler: kind.default_scaler(),
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

/// As the example says it, but for the pipeline's instance: Runpod makes none of one vCPU.
pub(super) fn spec() -> ReleaseSpec {
    let gpu = ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 1 };
    let workers = vec![
        worker(WORKERS[0], cpu(CpuInstance::Cpu3c_2_4), (1, 3), (5, 600)),
        worker(WORKERS[1], gpu, (0, 3), (5, 120)),
        worker(WORKERS[2], cpu(CpuInstance::Cpu3g_2_8), (0, 10), (3, 30)),
        worker(WORKERS[3], cpu(CpuInstance::Cpu3g_2_8), (0, 10), (3, 30)),
    ];
    let image = |worker: &str| (worker.to_owned(), format!("ghcr.io/me/mixed-{worker}@sha256:00"));
    ReleaseSpec {
        manifest: Manifest {
            version: 1,
            app: App { name: "mixed".to_owned(), version: "1.0.0".to_owned() },
            sdk_version: "0.1.0".to_owned(),
            workers,
            functions: Vec::new(),
            definitions: serde_json::Map::new(),
        },
        commands: Vec::new(),
        artifact: ArtifactSpec::Images { digest: "00".to_owned(), images: WORKERS.map(image).into() },
        origin: BuildOrigin::default(),
        variables: BTreeMap::from([("FLASH_EXAMPLE_MODEL".to_owned(), "minilm".to_owned())]),
        secrets: BTreeMap::new(),
        prices: BTreeMap::new(),
        runtime: RuntimeSettings::default(),
        cloud: CloudSettings::default(),
        models: Default::default(),
    }
}

/// One worker type of the first release.
pub(super) fn wanted(worker: &str) -> Desired {
    desired(&id(), &spec(), 1).unwrap().remove(worker).unwrap()
}

/// The endpoint that the API makes of it, its own defaults filled in.
pub(super) fn there(wanted: &Desired, id: &str) -> Endpoint {
    let create = wanted.create.clone();
    let gpu = create.gpu.map(|mut gpu| {
        gpu.count = Some(gpu.count.unwrap_or(1));
        gpu.allowed_cuda_versions = Some(Vec::new());
        gpu
    });
    Endpoint {
        id: id.to_owned(),
        name: create.name,
        kind: Some(create.kind),
        request_urls: None,
        image: Some(create.image),
        args: Some(create.args.unwrap_or_default()),
        disk: create.disk,
        env: Some(create.env),
        ports: Some(create.ports),
        registry: create.registry,
        gpu,
        cpu: create.cpu,
        workers: create.workers,
        scaling: create.scaling,
        data_center_ids: create.data_center_ids,
        network_volumes: create.network_volumes,
        timeout: create.timeout,
        flashboot: create.flashboot,
        created_at: "2026-08-20T12:00:00Z".to_owned(),
    }
}
