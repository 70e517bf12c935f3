//! Releases for tests.
use flash_protocol::{
    Program,
    manifest::{App, ComputeEntry, EndpointKind, Manifest, WorkerType},
};

use flash_target::{ArtifactSpec, BuildOrigin, CommandSpec, ReleaseSpec, RuntimeSettings};

/// SHA-256 of nothing in particular.
pub(super) fn digest(of: u8) -> String {
    format!("{of:02x}").repeat(32)
}

/// A worker type that a script serves; with at most 0 workers there is never any.
pub(super) fn worker(name: &str, workers_max: u32, script: &str) -> CommandSpec {
    CommandSpec {
        worker_type: WorkerType {
            name: name.into(),
            kind: EndpointKind::Queue,
            compute: ComputeEntry::Cpu { instances: Vec::new() },
            workers_min: 0,
            workers_max,
            idle_timeout_seconds: 5,
            execution_timeout_seconds: 600,
            max_concurrency: 1,
            scaler: EndpointKind::Queue.default_scaler(),
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
        },
        program: Program::command("sh", ["-c", script]),
        environment: Default::default(),
        health_path: "/ping".into(),
    }
}

/// A release of these worker types and no files.
pub(super) fn spec_of(digest: String, commands: Vec<CommandSpec>) -> ReleaseSpec {
    ReleaseSpec {
        manifest: Manifest {
            version: 1,
            app: App { name: "app".into(), version: "0".into() },
            sdk_version: String::new(),
            workers: commands.iter().map(|command| command.worker_type.clone()).collect(),
            functions: Vec::new(),
            definitions: serde_json::Map::new(),
        },
        commands,
        artifact: ArtifactSpec::Binaries { digest, binaries: Default::default(), files: Default::default() },
        origin: BuildOrigin::default(),
        variables: Default::default(),
        secrets: Default::default(),
        prices: Default::default(),
        // As a platform is started with: another one would take its port while parallel tests look for one.
        runtime: RuntimeSettings::default(),
        cloud: Default::default(),
        models: Default::default(),
    }
}

/// A release of nothing.
pub(super) fn empty_spec() -> ReleaseSpec {
    spec_of(digest(1), Vec::new())
}
