//! The desired endpoints of a release.
use std::{collections::BTreeMap, time::Duration};

use flash_protocol::{
    Program,
    manifest::{ComputeEntry, EndpointKind, ScalerEntry, WorkerType},
    variables, with_port,
};
use flash_target::{ArtifactSpec, CommandSpec, EnvironmentId, Finding, ReleaseSpec};

use super::{
    names::{self, endpoint_name},
    pools::{self, Hardware},
    rest::{CreateEndpoint, EndpointType, Flashboot, Scaling, WorkerRange},
};

/// The port of load-balanced workers.
const HTTP_PORT: u16 = 8000;
/// The path that the provider polls to find out whether a load-balanced worker is ready.
const HEALTH_CHECK_PATH: &str = "HEALTH_CHECK_PATH";
/// The key with which workers call each other: a secret that the user creates in the provider's console.
const KEY_PLACEHOLDER: &str = "{{ RUNPOD_SECRET_FLASH_API_KEY }}";
/// GB of disk of a GPU worker that does not say how much it needs.
const GPU_DISK_GB: u32 = 20;
/// GB of disk per vCPU: every flavor has it.
const CPU_DISK_GB: u32 = 10;

/// Seconds that a worker may take to become ready, unless its type says otherwise: a machine may have to be found, and
/// the image pulled.
const DEFAULT_START_TIMEOUT: u32 = 15 * 60;
/// The provider's limit for a cold start in seconds, after which it declares the worker unhealthy.
const INIT_TIMEOUT: &str = "RUNPOD_INIT_TIMEOUT";

/// A desired endpoint, complete except for [`variables::ENDPOINTS`]: see [`with_siblings`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Desired {
    pub worker: String,
    /// Its image is empty while the release is not built.
    pub create: CreateEndpoint,
    /// How long a worker may take to become ready.
    pub start_timeout: Duration,
}

/// The endpoints of a release, by worker type.
///
/// # Errors
/// Everything that cannot be made.
pub(crate) fn desired(
    id: &EnvironmentId,
    spec: &ReleaseSpec,
    release: u64,
) -> Result<BTreeMap<String, Desired>, Vec<Finding>> {
    let refusals = refusals(spec);
    if !refusals.is_empty() {
        return Err(refusals);
    }
    Ok(worker_types(spec)
        .into_iter()
        .filter_map(|(worker, command)| endpoint(id, spec, release, worker, command))
        .map(|desired| (desired.worker.clone(), desired))
        .collect())
}

/// The parts of a release that cannot be made at all.
pub(crate) fn refusals(spec: &ReleaseSpec) -> Vec<Finding> {
    let types = worker_types(spec);
    let refused = types.iter().filter_map(|(worker, _)| {
        let instance = *pools::hardware(&worker.compute).err()?.first()?;
        let able = pools::nearest_that_can_be_made(instance);
        Some(Finding {
            message: format!("`{}`: Runpod has no workers with one vCPU, such as {instance}", worker.name),
            fix: format!(
                "set `cpu = \"{able}\"` under `[environments.NAME.workers.{}]` in flash.toml, or in its `#[remote]`",
                worker.name
            ),
        })
    });
    refused.chain(spec.commands.iter().filter_map(own_entrypoint)).collect()
}

/// A setting that the provider's templates do not have.
fn own_entrypoint(command: &CommandSpec) -> Option<Finding> {
    let worker = &command.worker_type.name;
    match &command.program {
        Program::Image { entrypoint, .. } if !entrypoint.is_empty() => Some(Finding {
            message: format!("`{worker}`: Runpod cannot replace the entry point of an image"),
            fix: format!(
                "remove `command` under [workers.{worker}] in flash.toml and use `args`, or build an image with this \
                 entry point"
            ),
        }),
        _ => None,
    }
}

/// All worker types, by name, each with its command if it is one. A command's own entry takes precedence.
pub(crate) fn worker_types(spec: &ReleaseSpec) -> Vec<(&WorkerType, Option<&CommandSpec>)> {
    let mut all: BTreeMap<&str, (&WorkerType, Option<&CommandSpec>)> = BTreeMap::new();
    for worker in &spec.manifest.workers {
        all.insert(&worker.name, (worker, None));
    }
    for command in &spec.commands {
        all.insert(&command.worker_type.name, (&command.worker_type, Some(command)));
    }
    all.into_values().collect()
}

/// The endpoint as first created: no workers start, because they could not call their siblings yet.
pub(crate) fn asleep(desired: &Desired) -> CreateEndpoint {
    let mut create = desired.create.clone();
    create.env.remove(variables::ENDPOINTS);
    create.workers = WorkerRange { min: Some(0), max: Some(0), ..create.workers };
    create
}

/// Complete: with the addresses of all endpoints of the environment, by worker type.
pub(crate) fn with_siblings(desired: &Desired, urls: &BTreeMap<String, String>) -> Desired {
    let mut complete = desired.clone();
    // A map from strings to strings can always be written as JSON.
    let urls = serde_json::to_string(urls).unwrap_or_default();
    complete.create.env.insert(variables::ENDPOINTS.to_owned(), urls);
    complete
}

fn endpoint(
    id: &EnvironmentId,
    spec: &ReleaseSpec,
    release: u64,
    worker: &WorkerType,
    command: Option<&CommandSpec>,
) -> Option<Desired> {
    let hardware = pools::hardware(&worker.compute).ok()?;
    let disk = match &hardware {
        Hardware::Cpu(choices) => CPU_DISK_GB * choices.iter().map(|cpu| cpu.vcpu_count).min().unwrap_or(1),
        Hardware::Gpu(_) => GPU_DISK_GB,
    };
    let (cpu, gpu) = match hardware {
        Hardware::Cpu(choices) => (Some(choices), None),
        Hardware::Gpu(choice) => (None, Some(choice)),
    };
    let (kind, ports) = match worker.kind {
        EndpointKind::Queue => (EndpointType::Queue, Vec::new()),
        EndpointKind::LoadBalanced => (EndpointType::LoadBalancer, vec![format!("{HTTP_PORT}/http")]),
    };
    let scaling = scaling(worker);
    let create = CreateEndpoint {
        name: endpoint_name(id, &worker.name),
        kind,
        image: image(&spec.artifact, worker, command),
        args: command.and_then(arguments),
        disk: Some(worker.disk_gib.unwrap_or(disk)),
        env: variables(id, spec, release, worker, command),
        ports,
        registry: registry_credential(spec, command),
        gpu,
        cpu,
        workers: WorkerRange {
            min: Some(worker.workers_min),
            max: Some(worker.workers_max),
            idle_timeout: has_idle_timeout(kind, scaling).then_some(worker.idle_timeout_seconds),
        },
        scaling,
        data_center_ids: data_centers(spec, worker),
        network_volumes: spec.cloud.network_volumes.clone(),
        timeout: u64::from(worker.execution_timeout_seconds) * 1000,
        flashboot: Flashboot::On,
    };
    Some(Desired {
        worker: worker.name.clone(),
        create,
        start_timeout: Duration::from_secs(start_timeout(worker).into()),
    })
}

/// The worker type's own, else the environment's.
pub(crate) fn data_centers(spec: &ReleaseSpec, worker: &WorkerType) -> Vec<String> {
    if worker.data_centers.is_empty() {
        spec.cloud.data_centers.clone()
    } else {
        worker.data_centers.iter().map(|center| center.id().to_owned()).collect()
    }
}

/// The login for the image of a worker type. It is one for the registry of the app's own images, so an image that was
/// built elsewhere gets it only if it is in that registry: another one would refuse the login, even for a public image.
fn registry_credential(spec: &ReleaseSpec, command: Option<&CommandSpec>) -> Option<String> {
    let credential = spec.cloud.registry_credential.clone()?;
    let Some(image) = command.and_then(|command| command.program.image()) else { return Some(credential) };
    let ArtifactSpec::Images { images, .. } = &spec.artifact else { return Some(credential) };
    let has_own = !images.is_empty();
    let is_beside_own = images.values().any(|own| registry(own) == registry(image));
    (is_beside_own || !has_own).then_some(credential)
}

/// The registry in the complete name of an image.
fn registry(image: &str) -> &str {
    image.split('/').next().unwrap_or_default()
}

/// Empty if the release is not built.
fn image(artifact: &ArtifactSpec, worker: &WorkerType, command: Option<&CommandSpec>) -> String {
    if let Some(image) = command.and_then(|command| command.program.image()) {
        return image.to_owned();
    }
    match artifact {
        ArtifactSpec::Images { images, .. } => images.get(&worker.name).cloned().unwrap_or_default(),
        ArtifactSpec::Binaries { .. } => String::new(),
    }
}

/// The arguments of an image that was built elsewhere, as one line: the provider splits it as a shell does.
fn arguments(command: &CommandSpec) -> Option<String> {
    match &command.program {
        Program::Image { arguments, .. } if !arguments.is_empty() => {
            Some(shell_words::join(arguments.iter().map(|word| with_port(word, HTTP_PORT))))
        }
        _ => None,
    }
}

fn scaling(worker: &WorkerType) -> Scaling {
    match (worker.kind, worker.scaler) {
        (_, ScalerEntry::RequestCount { requests }) => Scaling::RequestCount { request_count: requests },
        (EndpointKind::Queue, ScalerEntry::QueueDelay { seconds }) => {
            Scaling::QueueDelay { queue_delay: f64::from(seconds) }
        }
        // A load balancer has no queue.
        (EndpointKind::LoadBalanced, ScalerEntry::QueueDelay { .. }) => {
            let requests = match EndpointKind::LoadBalanced.default_scaler() {
                ScalerEntry::RequestCount { requests } => requests,
                ScalerEntry::QueueDelay { .. } => 1,
            };
            Scaling::RequestCount { request_count: requests }
        }
    }
}

/// The API rejects an idle timeout for a queue that scales by request count.
pub(crate) fn has_idle_timeout(kind: EndpointType, scaling: Scaling) -> bool {
    !matches!((kind, scaling), (EndpointType::Queue, Scaling::RequestCount { .. }))
}

fn start_timeout(worker: &WorkerType) -> u32 {
    worker.start_timeout_seconds.unwrap_or(DEFAULT_START_TIMEOUT)
}

/// The workers' variables. The user's never override those that identify the endpoint as ours.
fn variables(
    id: &EnvironmentId,
    spec: &ReleaseSpec,
    release: u64,
    worker: &WorkerType,
    command: Option<&CommandSpec>,
) -> BTreeMap<String, String> {
    let mut all = spec.variables.clone();
    if let Some(command) = command {
        all.extend(command.environment.clone());
    }
    if let ComputeEntry::Cpu { instances } = &worker.compute
        && let Some(vcpus) =
            instances.iter().filter(|own| pools::can_be_made(**own)).map(|own| own.vcpus()).min()
    {
        for name in std::iter::once(variables::THREADS).chain(variables::MODEL_THREADS) {
            all.entry(name.to_owned()).or_insert_with(|| vcpus.to_string());
        }
    }
    all.entry(INIT_TIMEOUT.to_owned()).or_insert_with(|| start_timeout(worker).to_string());
    all.entry(variables::RUNPOD_API_KEY.to_owned()).or_insert_with(|| KEY_PLACEHOLDER.to_owned());
    let mut set = |name: &str, value: String| all.insert(name.to_owned(), value);
    set(names::APP, id.app.clone());
    set(names::ENVIRONMENT, id.name.clone());
    set(names::WORKER, worker.name.clone());
    set(names::RELEASE, release.to_string());
    set(variables::DRAIN_SECONDS, spec.runtime.drain_seconds.to_string());
    if worker.kind == EndpointKind::LoadBalanced {
        set(variables::PORT, HTTP_PORT.to_string());
        set(variables::PORT_HEALTH, HTTP_PORT.to_string());
        if let Some(command) = command.filter(|command| !command.health_path.is_empty()) {
            set(HEALTH_CHECK_PATH, command.health_path.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use flash_protocol::CpuInstance;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        fixtures::{WORKERS, id, spec, there, wanted},
        reconcile::difference,
    };

    /// Compares with the file; `FLASH_UPDATE_SNAPSHOTS=1` writes it.
    fn snapshot(name: &str, value: &impl serde::Serialize) {
        let path = format!("{}/src/snapshots/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = serde_json::to_string_pretty(value).unwrap() + "\n";
        if std::env::var_os("FLASH_UPDATE_SNAPSHOTS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{path}");
    }

    #[test]
    fn every_worker_type_of_the_example_is_created_as_written_down() {
        for worker in WORKERS {
            snapshot(&format!("create.{worker}"), &wanted(worker).create);
        }
    }

    #[test]
    fn every_worker_type_of_the_example_is_changed_as_written_down() {
        let urls = BTreeMap::from([("inference_worker".into(), "https://api.runpod.ai/v2/e1".into())]);
        let mut next = spec();
        next.manifest.workers.iter_mut().for_each(|worker| worker.workers_max = 4);
        for worker in WORKERS {
            let wanted = wanted(worker);
            let asleep = Desired { create: asleep(&wanted), ..wanted.clone() };
            snapshot(
                &format!("wake.{worker}"),
                &difference(&there(&asleep, "e1"), &with_siblings(&wanted, &urls)).unwrap(),
            );
            let grown = desired(&id(), &next, 2).unwrap().remove(worker).unwrap();
            snapshot(&format!("grow.{worker}"), &difference(&there(&wanted, "e1"), &grown).unwrap());
        }
    }

    #[test]
    fn what_the_api_gets_wrong_by_default_is_always_said() {
        for worker in WORKERS {
            let json = serde_json::to_value(&wanted(worker).create).unwrap();
            assert_eq!(json["flashboot"], "FLASHBOOT");
            assert!(json["timeout"].as_u64().is_some_and(|timeout| timeout > 0));
            assert_ne!(json.get("cpu").is_some(), json.get("gpu").is_some(), "one of both: {json}");
        }
    }

    fn create(change: impl FnOnce(&mut WorkerType)) -> Value {
        let mut spec = spec();
        change(spec.manifest.workers.iter_mut().find(|worker| worker.name == "inference_worker").unwrap());
        serde_json::to_value(&desired(&id(), &spec, 1).unwrap()["inference_worker"].create).unwrap()
    }

    fn image_command(entrypoint: &[&str]) -> CommandSpec {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let mut worker_type = spec().manifest.workers[0].clone();
        worker_type.name = "llm".to_owned();
        worker_type.kind = EndpointKind::LoadBalanced;
        CommandSpec {
            worker_type,
            program: Program::Image {
                image: "ghcr.io/me/llm@sha256:1".to_owned(),
                entrypoint: owned(entrypoint),
                arguments: owned(&["--port", "$PORT", "--title", "my model"]),
            },
            environment: BTreeMap::from([("MODEL".to_owned(), "large".to_owned())]),
            health_path: "/health".to_owned(),
        }
    }

    #[test]
    fn an_image_built_elsewhere_is_an_endpoint_with_its_arguments_and_port() {
        let mut spec = spec();
        spec.commands.push(image_command(&[]));
        let json = serde_json::to_value(&desired(&id(), &spec, 1).unwrap()["llm"].create).unwrap();
        assert_eq!(json["image"], "ghcr.io/me/llm@sha256:1");
        assert_eq!(json["args"], "--port 8000 --title 'my model'");
        assert_eq!((&json["type"], &json["ports"]), (&json!("LOAD_BALANCER"), &json!(["8000/http"])));
        let env = &json["env"];
        let values = ["PORT", "HEALTH_CHECK_PATH", "MODEL"].map(|name| &env[name]);
        assert_eq!(values, ["8000", "/health", "large"]);
        spec.commands = vec![image_command(&["python3"])];
        let problems = desired(&id(), &spec, 1).unwrap_err();
        assert!(problems[0].message.contains("`llm`: Runpod cannot replace the entry point"), "{problems:?}");
    }

    #[test]
    fn a_login_goes_to_the_registry_of_the_apps_own_images_alone() {
        let mut spec = spec();
        spec.cloud.registry_credential = Some("login".to_owned());
        let credentials = |spec: &ReleaseSpec| {
            let all = desired(&id(), spec, 1).unwrap();
            ["llm", WORKERS[0]].map(|worker| all.get(worker).and_then(|own| own.create.registry.clone()))
        };
        let login = || Some("login".to_owned());
        let command = |image: &str| {
            let mut command = image_command(&[]);
            command.program =
                Program::Image { image: image.to_owned(), entrypoint: Vec::new(), arguments: Vec::new() };
            command
        };
        let ArtifactSpec::Images { images, .. } = spec.artifact.clone() else {
            unreachable!("it has images")
        };
        let own = registry(&images[WORKERS[0]]).to_owned();
        spec.commands = vec![command(&format!("{own}/other/llm@sha256:1"))];
        assert_eq!(credentials(&spec), [login(), login()]);
        spec.commands = vec![command("docker.io/library/redis@sha256:1")];
        assert_eq!(credentials(&spec), [None, login()]);
        // Nothing says which registry it is for.
        spec.artifact = ArtifactSpec::Images { digest: "00".to_owned(), images: BTreeMap::new() };
        assert_eq!(credentials(&spec)[0], login());
    }

    #[test]
    fn a_worker_has_the_disk_that_it_asks_for() {
        assert_eq!(create(|_| ())["disk"], 20);
        assert_eq!(create(|worker| worker.disk_gib = Some(120))["disk"], 120);
    }

    #[test]
    fn a_queue_that_scales_by_requests_has_no_idle_timeout() {
        let json = create(|worker| worker.scaler = ScalerEntry::RequestCount { requests: 2 });
        assert_eq!(json["workers"], json!({ "min": 0, "max": 3 }));
    }

    #[test]
    fn a_load_balancer_always_scales_by_requests() {
        let json = create(|worker| worker.kind = EndpointKind::LoadBalanced);
        assert_eq!(json["scaling"], json!({ "type": "REQUEST_COUNT", "requestCount": 4 }));
        assert_eq!(json["workers"]["idleTimeout"], 5);
        assert_eq!((&json["env"]["PORT"], &json["env"]["PORT_HEALTH"]), (&json!("8000"), &json!("8000")));
    }

    #[test]
    fn an_instance_that_cannot_be_made_is_refused_with_the_nearest_that_can() {
        let mut spec = spec();
        for worker in &mut spec.manifest.workers {
            worker.compute = ComputeEntry::Cpu { instances: vec![CpuInstance::Cpu3g_1_4] };
        }
        let problems = desired(&id(), &spec, 1).unwrap_err();
        assert_eq!(problems.len(), WORKERS.len(), "all at once");
        assert!(problems.iter().all(|problem| problem.fix.contains("cpu3g-2-8")), "{problems:?}");
    }

    #[test]
    fn a_variable_of_the_user_is_no_marker() {
        let mut spec = spec();
        spec.variables.insert(names::APP.into(), "other".into());
        assert_eq!(desired(&id(), &spec, 1).unwrap()["inference_worker"].create.env[names::APP], "mixed");
    }
}
