//! Finds this machine's container engine, and what it can do here.
use std::path::{Path, PathBuf};

use nix::sys::resource::{Resource, getrlimit};
use serde::Deserialize;

use super::{
    EngineError, Kind,
    call::{Engine, Limit},
};

/// Podman's default limits of open files and processes for a container; it fails if it may not set them.
const PODMANS_OWN: u64 = 1_048_576;
/// The oldest podman whose containers write to our pipes.
const LEAST_PODMAN: u32 = 4;

/// The engine's settings from a project or a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// This one, or the first one installed.
    pub kind: Option<Kind>,
    /// Before every subcommand.
    pub global_arguments: Vec<String>,
    /// For each container.
    pub run_arguments: Vec<String>,
}

/// Chooses an engine and queries what it can do.
///
/// # Errors
/// When none is installed, or the requested one does not answer.
pub async fn find(wanted: &Wanted) -> Result<Engine, EngineError> {
    let kinds = wanted.kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
    for kind in kinds {
        match detect(kind, wanted).await {
            Err(EngineError::Missing(_)) if wanted.kind.is_none() => {}
            found => return found,
        }
    }
    Err(EngineError::None)
}

async fn detect(kind: Kind, wanted: &Wanted) -> Result<Engine, EngineError> {
    let machine = Machine::here();
    // For the query, called without any assumptions.
    let engine = Engine {
        kind,
        global_arguments: wanted.global_arguments.clone(),
        run_arguments: wanted.run_arguments.clone(),
        limits: Vec::new(),
        cores: machine.cores,
        ulimits: Vec::new(),
    };
    let format = match kind {
        Kind::Podman => "--format=json",
        Kind::Docker => "--format={{json .}}",
    };
    let answer = engine.ask(&engine.words(&["info", format])).await?;
    let unreadable = |error| EngineError::Unreadable(format!("{} info", kind.name()), error);
    match kind {
        Kind::Podman => podman(engine, &serde_json::from_str(&answer).map_err(unreadable)?, &machine),
        Kind::Docker => {
            let info = serde_json::from_str(&answer).map_err(unreadable)?;
            // The context in use, unless `DOCKER_HOST` overrides it.
            let format = "--format={{.Endpoints.docker.Host}}";
            let socket = engine.ask(&engine.words(&["context", "inspect", format])).await?;
            docker(engine, &info, socket.trim())
        }
    }
}

/// What an engine needs to know of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Machine {
    cores: u32,
    /// Control groups of both versions at once.
    has_hybrid_groups: bool,
    has_runc: bool,
    /// This process's hard limits.
    open_files: u64,
    processes: u64,
    /// Podman lowers its own process limit to this.
    process_ids: u64,
}

impl Machine {
    fn here() -> Self {
        let hard = |resource| getrlimit(resource).map_or(u64::MAX, |(_, hard)| hard);
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Podman looks there too, whatever PATH says.
        let for_root = ["/usr/sbin", "/usr/local/sbin", "/sbin"].map(PathBuf::from);
        let mut places = std::env::split_paths(&path).chain(for_root);
        let process_ids = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism()
                .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX)),
            has_hybrid_groups: Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists(),
            has_runc: places.any(|directory| directory.join("runc").is_file()),
            open_files: hard(Resource::RLIMIT_NOFILE),
            processes: hard(Resource::RLIMIT_NPROC),
            process_ids: process_ids.trim().parse().unwrap_or(u64::MAX),
        }
    }
}

/// The used parts of `podman info`.
#[derive(Debug, Deserialize)]
struct PodmanInfo {
    host: PodmanHost,
    version: PodmanVersion,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodmanHost {
    /// The controllers that it may use; `null` if none.
    cgroup_controllers: Option<Vec<String>>,
    oci_runtime: PodmanRuntime,
    #[serde(default)]
    service_is_remote: bool,
}

#[derive(Debug, Deserialize)]
struct PodmanRuntime {
    name: String,
}

#[derive(Debug, Deserialize)]
struct PodmanVersion {
    #[serde(rename = "Version")]
    version: String,
}

fn podman(engine: Engine, info: &PodmanInfo, machine: &Machine) -> Result<Engine, EngineError> {
    let version = &info.version.version;
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < LEAST_PODMAN) {
        return Err(EngineError::Old(version.clone()));
    }
    if info.host.service_is_remote {
        return Err(EngineError::Elsewhere("podman runs containers in another machine"));
    }
    let mut global_arguments = engine.global_arguments;
    let names_a_runtime = global_arguments.iter().any(|word| word.starts_with("--runtime"));
    // crun rejects groups of both versions at once; runc accepts them.
    if info.host.oci_runtime.name == "crun"
        && machine.has_hybrid_groups
        && machine.has_runc
        && !names_a_runtime
    {
        global_arguments.push("--runtime=runc".to_owned());
    }
    let controllers = info.host.cgroup_controllers.as_deref().unwrap_or_default();
    let has = |name: &str| controllers.iter().any(|own| own == name);
    let limits = [(Limit::Cpu, "cpu"), (Limit::Memory, "memory"), (Limit::Processes, "pids")];
    Ok(Engine {
        global_arguments,
        limits: limits.into_iter().filter(|(_, name)| has(name)).map(|(limit, _)| limit).collect(),
        ulimits: ulimits(machine),
        ..engine
    })
}

/// Limits for containers if this process has less than podman would set, and may not raise its own.
fn ulimits(machine: &Machine) -> Vec<String> {
    let mut ulimits = Vec::new();
    if machine.open_files < PODMANS_OWN {
        ulimits.push(format!("nofile={0}:{0}", machine.open_files));
    }
    if machine.processes < PODMANS_OWN {
        ulimits.push(format!("nproc={0}:{0}", machine.processes.min(machine.process_ids)));
    }
    ulimits
}

/// The used parts of `docker info`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerInfo {
    #[serde(default)]
    operating_system: String,
    #[serde(default)]
    cpu_cfs_quota: bool,
    #[serde(default)]
    memory_limit: bool,
    #[serde(default)]
    pids_limit: bool,
    #[serde(default)]
    security_options: Vec<String>,
    #[serde(default)]
    server_errors: Vec<String>,
}

fn docker(engine: Engine, info: &DockerInfo, socket: &str) -> Result<Engine, EngineError> {
    if let Some(reason) = info.server_errors.first() {
        return Err(EngineError::Failed { what: "docker info".to_owned(), reason: reason.clone() });
    }
    if info.operating_system.starts_with("Docker Desktop") {
        return Err(EngineError::Elsewhere("Docker Desktop runs containers in a virtual machine"));
    }
    if !socket.starts_with("unix://") {
        return Err(EngineError::Elsewhere(
            "docker runs containers on the host set by `DOCKER_HOST` or its context",
        ));
    }
    if info.security_options.iter().any(|option| option.split(',').any(|word| word == "name=rootless")) {
        return Err(EngineError::Elsewhere("rootless docker gives containers a separate network"));
    }
    let limits = [
        (Limit::Cpu, info.cpu_cfs_quota),
        (Limit::Memory, info.memory_limit),
        (Limit::Processes, info.pids_limit),
    ];
    Ok(Engine {
        limits: limits.into_iter().filter(|(_, has)| *has).map(|(limit, _)| limit).collect(),
        ..engine
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LOCAL: &str = "unix:///var/run/docker.sock";

    fn machine() -> Machine {
        Machine {
            cores: 4,
            has_hybrid_groups: false,
            has_runc: true,
            open_files: u64::MAX,
            processes: u64::MAX,
            process_ids: 32_768,
        }
    }

    fn bare(kind: Kind) -> Engine {
        Engine {
            kind,
            global_arguments: Vec::new(),
            run_arguments: Vec::new(),
            limits: Vec::new(),
            cores: 4,
            ulimits: Vec::new(),
        }
    }

    fn info(version: &str, controllers: serde_json::Value, is_remote: bool) -> PodmanInfo {
        let info = json!({
            "host": {
                "cgroupControllers": controllers, "ociRuntime": { "name": "crun", "path": "/usr/bin/crun" },
                "serviceIsRemote": is_remote,
            },
            "store": {}, "version": { "APIVersion": version, "Version": version },
        });
        serde_json::from_value(info).unwrap()
    }

    #[test]
    fn an_ordinary_machine_needs_nothing_special() {
        let all = json!(["cpuset", "cpu", "io", "memory", "pids"]);
        let engine = podman(bare(Kind::Podman), &info("5.4.2", all, false), &machine()).unwrap();
        assert_eq!(engine, Engine { limits: Limit::ALL.to_vec(), ..bare(Kind::Podman) });
    }

    #[test]
    fn groups_of_both_versions_are_for_runc_unless_the_project_says_otherwise() {
        let hybrid = Machine { has_hybrid_groups: true, ..machine() };
        let found = |engine, machine: &Machine| {
            podman(engine, &info("4.3.1", json!(["cpu"]), false), machine).unwrap().global_arguments
        };
        assert_eq!(found(bare(Kind::Podman), &hybrid), ["--runtime=runc"]);
        assert!(found(bare(Kind::Podman), &Machine { has_runc: false, ..hybrid.clone() }).is_empty());
        let told = Engine { global_arguments: vec!["--runtime=kata".to_owned()], ..bare(Kind::Podman) };
        assert_eq!(found(told, &hybrid), ["--runtime=kata"]);
    }

    #[test]
    fn limits_that_cannot_be_raised_are_passed_on() {
        let poor = Machine { open_files: 20_000, processes: 96_365, ..machine() };
        let engine = podman(bare(Kind::Podman), &info("4.3.1", json!(null), false), &poor).unwrap();
        assert_eq!(engine.ulimits, ["nofile=20000:20000", "nproc=32768:32768"]);
        assert_eq!(engine.missing_limits(), Limit::ALL, "it may use no controller");
    }

    #[test]
    fn engines_that_cannot_serve_are_refused() {
        let refusal = |version, is_remote| {
            podman(bare(Kind::Podman), &info(version, json!([]), is_remote), &machine())
                .unwrap_err()
                .to_string()
        };
        assert_eq!(refusal("3.4.4", false), "podman 3.4.4 is too old; version 4.0 or newer is required");
        assert!(refusal("5.0.0", true).contains("loopback"));
        let desktop = serde_json::from_value(json!({ "OperatingSystem": "Docker Desktop" })).unwrap();
        let refusal = |info, socket| docker(bare(Kind::Docker), &info, socket).unwrap_err().to_string();
        assert!(refusal(desktop, LOCAL).starts_with("Docker Desktop runs"));
        let rootless = json!({ "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"] });
        assert!(refusal(serde_json::from_value(rootless).unwrap(), LOCAL).contains("rootless docker"));
        for elsewhere in ["ssh://ada@build.example", "tcp://10.0.0.7:2376"] {
            let server = serde_json::from_value(json!({ "OperatingSystem": "Debian" })).unwrap();
            assert!(refusal(server, elsewhere).contains("`DOCKER_HOST`"));
        }
        let down = json!({ "ServerErrors": ["Cannot connect to the Docker daemon"] });
        let error = refusal(serde_json::from_value(down).unwrap(), LOCAL);
        assert!(error.contains("Cannot connect"), "{error}");
    }

    #[test]
    fn docker_says_what_it_can_limit() {
        let server = json!({ "OperatingSystem": "Debian", "CpuCfsQuota": true, "MemoryLimit": true });
        let engine = docker(bare(Kind::Docker), &serde_json::from_value(server).unwrap(), LOCAL).unwrap();
        assert_eq!(engine.limits, [Limit::Cpu, Limit::Memory]);
    }
}
