//! How to start a worker: program or image, directory, environment variables.
//!
//! A worker of the app is the app binary with a role, as built on this machine or in an image. A command is any other
//! program, or an image, that uses the provider's worker protocol or serves HTTP. It gets the provider's variables, but
//! not those of Flash.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use flash_containers::{ContainerSpec, Engine};
use flash_protocol::{
    CommandWorker, Program,
    catalogue::NanoDollars,
    manifest::{EndpointKind, Manifest, WorkerType},
    variables,
};

use super::{
    supervisor::{AwaitedPod, Cluster, Place, PodSpec, Pods, Spec, Start, StartContainer, StartInCluster},
    worker_id::WorkerId,
};

/// Variables for the official worker's start-up checks. One of them accesses the internet and ends the worker if that
/// fails. A project can enable them by setting them to `false`.
const CHECKS_OFF: [&str; 2] = ["RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_GPU_CHECK"];
/// Variables that say where traces go, which containers get as processes do.
const OF_TRACES: &str = "OTEL_";
/// The base URL of the queue API for the official client: this platform, unless the project sets another.
const ENDPOINT_BASE_URL: &str = "RUNPOD_ENDPOINT_BASE_URL";

/// The build artifact of an app's workers.
#[derive(Clone)]
pub enum Artifact {
    /// The app binary; must stay as it is while the release lives.
    Binary(PathBuf),
    /// A binary for each worker type of the app; they must stay as they are while the release lives.
    Binaries(Arc<BTreeMap<String, PathBuf>>),
    /// An image for each worker type, in the store of a container engine.
    Images(Arc<Images>),
    /// An image for each worker type, for pods of a cluster.
    Pods(Arc<PodImages>),
}

/// See [`Artifact`].
#[derive(Debug)]
pub struct PodImages {
    /// The cluster that the platform runs in.
    pub cluster: Arc<dyn Cluster>,
    /// Names by digest, as nodes pull them, by worker type.
    pub images: BTreeMap<String, String>,
}

/// See [`Artifact`].
#[derive(Debug)]
pub struct Images {
    /// It has the images and runs the containers.
    pub engine: Arc<Engine>,
    /// Ids in the engine's store, by worker type.
    pub ids: BTreeMap<String, String>,
    /// The parent of a directory per container, for files of its engine. It belongs to the platform.
    pub directory: PathBuf,
}

impl Images {
    /// How to start a container of one of them.
    fn start(&self, id: &WorkerId, spec: ContainerSpec) -> StartContainer {
        StartContainer { engine: self.engine.clone(), spec, directory: self.directory.join(id.to_string()) }
    }
}

/// What all workers of a release have in common.
#[derive(Clone)]
pub(crate) struct Launch {
    /// The number of the release.
    pub release: u64,
    pub artifact: Artifact,
    /// The images of commands that are images.
    pub programs: Option<Arc<Images>>,
    /// Where processes run: the app's package directory.
    pub directory: PathBuf,
    /// Variables of the project (`.env`).
    pub environment: Vec<(String, String)>,
    /// Where the platform listens, such as `http://127.0.0.1:8888`.
    pub platform: String,
    /// The endpoint map.
    pub endpoints: String,
    /// Those that may join.
    pub pods: Pods,
    /// Worker types that are separate programs.
    pub commands: Arc<[CommandWorker]>,
    /// The directory of the model, by worker type.
    pub models: Arc<BTreeMap<String, PathBuf>>,
    /// Seconds that running work gets at the end.
    pub drain_seconds: u64,
    /// How often workers ping.
    pub ping_interval: Duration,
}

/// The endpoint map of an app's worker types on the Flash platform.
pub(crate) fn endpoint_map(manifest: &Manifest, platform: &str) -> String {
    let entry = |worker: &WorkerType| {
        let url = match worker.kind {
            EndpointKind::Queue => format!("{platform}/v2/{}", worker.name),
            EndpointKind::LoadBalanced => format!("{platform}/{}", worker.name),
        };
        (worker.name.clone(), serde_json::Value::String(url))
    };
    serde_json::Value::Object(manifest.workers.iter().map(entry).collect()).to_string()
}

impl Launch {
    /// The program of this worker type; `None` for a worker type of the app.
    pub(crate) fn command(&self, worker_type: &str) -> Option<&CommandWorker> {
        self.commands.iter().find(|command| command.worker_type.name == worker_type)
    }

    /// Starts one worker. Its key is valid for the worker API of this worker, and for the client API for its calls.
    /// `port` is the HTTP port of a command; a worker of the app chooses its own.
    ///
    /// # Errors
    /// If there is no binary or image for its worker type.
    pub(crate) fn start(
        &self,
        worker_type: &WorkerType,
        id: &WorkerId,
        key: &str,
        port: Option<u16>,
        price: Option<NanoDollars>,
    ) -> Result<Start, String> {
        if let Some(command) = self.command(&worker_type.name) {
            return self.command_start(command, id, key, port);
        }
        let mut environment = self.app_environment(worker_type, id, key);
        environment.extend(price.map(|price| owned((variables::PRICE, price.0.to_string()))));
        let process = |program: &Path, environment| {
            Start::Process(Spec {
                program: program.to_owned(),
                arguments: Vec::new(),
                directory: self.directory.clone(),
                environment,
            })
        };
        match &self.artifact {
            Artifact::Binary(program) => Ok(process(program, environment)),
            Artifact::Binaries(programs) => {
                let program = programs.get(&worker_type.name);
                let program = program.ok_or_else(|| format!("no binary built for `{}`", worker_type.name))?;
                Ok(process(program, environment))
            }
            Artifact::Images(images) => {
                let image = images.ids.get(&worker_type.name);
                let image = image.ok_or_else(|| format!("no image built for `{}`", worker_type.name))?;
                let key = uuid::Uuid::new_v4().simple().to_string();
                let mut own = self.pod_environment(worker_type, id);
                own.push((variables::POD_KEY.to_owned(), key.clone()));
                let pod = self.pods.expect(id.to_string(), key);
                let container = images.start(id, container(id, image, own));
                Ok(in_pod(Place::Container(container), pod, environment))
            }
            Artifact::Pods(pods) => {
                let image = pods.images.get(&worker_type.name);
                let image = image.ok_or_else(|| format!("no image built for `{}`", worker_type.name))?;
                let pod = self.pods.expect(id.to_string(), pods.cluster.join_key().to_owned());
                let spec = PodSpec {
                    name: id.to_string(),
                    worker_type: worker_type.clone(),
                    release: self.release,
                    image: image.clone(),
                    environment: self.pod_environment(worker_type, id),
                };
                let start = StartInCluster { cluster: pods.cluster.clone(), spec };
                Ok(in_pod(Place::Cluster(Box::new(start)), pod, environment))
            }
        }
    }

    /// The variables of a pod's first process, but for the key: only what it needs to join the platform stands in the
    /// description of the pod.
    fn pod_environment(&self, worker_type: &WorkerType, id: &WorkerId) -> Vec<(String, String)> {
        let own = [
            (variables::ROLE, "pod".to_owned()),
            (variables::POD_URL, format!("{}/pod/{id}", self.base(worker_type))),
        ];
        own.map(owned).into()
    }

    /// Whether its workers run in a cluster, and not on this machine.
    pub(crate) fn is_in_cluster(&self) -> bool {
        matches!(self.artifact, Artifact::Pods(_))
    }

    /// Bytes of the files of a worker type's model that decide how much memory of a GPU it needs; `None` where that is
    /// not known.
    pub(crate) async fn model_size(&self, worker_type: &WorkerType) -> Option<u64> {
        let is_asked_for = worker_type.vram_gib.is_none() && worker_type.compute.vram_gb().is_some();
        let directory = self.models.get(&worker_type.name).filter(|_| is_asked_for)?.clone();
        tokio::task::spawn_blocking(move || size_of_files(&directory)).await.ok().flatten()
    }

    fn app_environment(&self, worker_type: &WorkerType, id: &WorkerId, key: &str) -> Vec<(String, String)> {
        let own = [
            (variables::ROLE, "worker".to_owned()),
            (variables::WORKER, worker_type.name.clone()),
            (variables::ENDPOINTS, self.endpoints.clone()),
            (variables::EXCHANGE_URL, format!("{}/exchange/{id}", self.base(worker_type))),
            (variables::DRAIN_SECONDS, self.drain_seconds.to_string()),
            (variables::HTTP_HOST, self.http_host().to_owned()),
            (variables::PORT, "0".to_owned()),
            (variables::PORT_HEALTH, "0".to_owned()),
        ];
        let model = self
            .models
            .get(&worker_type.name)
            .filter(|_| matches!(self.artifact, Artifact::Binary(_) | Artifact::Binaries(_)));
        let model = model.map(|directory| (variables::MODEL_DIR, directory.display().to_string()));
        let own = own.into_iter().chain(model).chain(self.protocol(worker_type, id, key)).map(owned);
        // The platform's variables win over the project's.
        self.environment.iter().cloned().chain(own).collect()
    }

    /// Where a worker of the app listens: the platform reaches it there.
    fn http_host(&self) -> &'static str {
        match (self.is_in_cluster(), self.platform.contains('[')) {
            (false, _) => "127.0.0.1",
            (true, false) => "0.0.0.0",
            (true, true) => "::",
        }
    }

    /// Starts a worker that is a separate program.
    fn command_start(
        &self,
        command: &CommandWorker,
        id: &WorkerId,
        key: &str,
        port: Option<u16>,
    ) -> Result<Start, String> {
        if self.is_in_cluster() {
            return Err("a worker type that is a program cannot run in a cluster".to_owned());
        }
        let environment = self.command_environment(command, id, key, port);
        match &command.program {
            Program::Command { program, arguments } => Ok(Start::Process(Spec {
                program: self.in_project(program),
                arguments: arguments.clone(),
                directory: self.directory.clone(),
                environment,
            })),
            Program::Image { image, entrypoint, arguments } => {
                let name = &command.worker_type.name;
                let stored = self.programs.as_ref().and_then(|images| Some((images, images.ids.get(name)?)));
                let (images, image) =
                    stored.ok_or_else(|| format!("the image of `{name}`, {image}, was not fetched"))?;
                let with_port =
                    |words: &[String]| words.iter().map(|word| with_port(word, port)).collect::<Vec<_>>();
                Ok(Start::Container(images.start(
                    id,
                    ContainerSpec {
                        entrypoint: with_port(entrypoint),
                        arguments: with_port(arguments),
                        ..container(id, image, inherited().chain(environment).collect())
                    },
                )))
            }
        }
    }

    /// The variables of a separate program.
    fn command_environment(
        &self,
        command: &CommandWorker,
        id: &WorkerId,
        key: &str,
        port: Option<u16>,
    ) -> Vec<(String, String)> {
        let CommandWorker { worker_type, environment, health_path, .. } = command;
        let defaults = CHECKS_OFF
            .map(|name| (name, "true".to_owned()))
            .into_iter()
            .chain([(ENDPOINT_BASE_URL, format!("{}/v2", self.platform))]);
        let serving = port.into_iter().flat_map(|port| {
            let port = port.to_string();
            [
                (variables::PORT, port.clone()),
                (variables::PORT_HEALTH, port),
                (CommandWorker::HEALTH_CHECK_PATH, health_path.clone()),
            ]
        });
        let own = self.protocol(worker_type, id, key).into_iter().chain(serving).map(owned);
        let project = self.environment.iter().cloned().chain(defaults.map(owned));
        project.chain(environment.iter().cloned()).chain(own).collect()
    }

    /// An absolute path, because relative paths depend on the system here.
    fn in_project(&self, program: &Path) -> PathBuf {
        if program.components().count() > 1 {
            self.directory.join(program.strip_prefix(".").unwrap_or(program))
        } else {
            program.to_owned()
        }
    }

    fn base(&self, worker_type: &WorkerType) -> String {
        format!("{}/v2/{}", self.platform, worker_type.name)
    }

    /// The provider's worker protocol.
    fn protocol(&self, worker_type: &WorkerType, id: &WorkerId, key: &str) -> [(&'static str, String); 10] {
        let base = self.base(worker_type);
        [
            // With a query, because the official worker appends `&…` without checking.
            (variables::RUNPOD_GET_JOB, format!("{base}/job-take/$ID?gpu=")),
            (variables::RUNPOD_POST_OUTPUT, format!("{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=")),
            (variables::RUNPOD_POST_STREAM, format!("{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=")),
            (variables::RUNPOD_PING, format!("{base}/ping/$RUNPOD_POD_ID?gpu=")),
            (variables::RUNPOD_PING_INTERVAL, self.ping_interval.as_millis().to_string()),
            (variables::RUNPOD_AI_API_KEY, key.to_owned()),
            // For calls to other endpoints, where the platform asks for a key.
            (variables::RUNPOD_API_KEY, key.to_owned()),
            (variables::RUNPOD_POD_ID, id.to_string()),
            (variables::RUNPOD_POD_HOSTNAME, id.to_string()),
            (variables::RUNPOD_ENDPOINT_ID, worker_type.name.clone()),
        ]
    }
}

/// Bytes of all files below a directory, where links count as what they lead to; `None` if there are none.
fn size_of_files(directory: &Path) -> Option<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).ok()?.flatten() {
        let Ok(metadata) = std::fs::metadata(entry.path()) else { continue };
        bytes += if metadata.is_dir() { size_of_files(&entry.path()).unwrap_or(0) } else { metadata.len() };
    }
    (bytes > 0).then_some(bytes)
}

/// An argument with the port in place of `$PORT`: images take it as an argument rather than as a variable.
fn with_port(word: &str, port: Option<u16>) -> String {
    port.map_or_else(|| word.to_owned(), |port| flash_protocol::with_port(word, port))
}

/// A container does not inherit environment variables, so those that a process would inherit are passed too.
fn inherited() -> impl Iterator<Item = (String, String)> {
    // Names that are not Unicode are of neither kind.
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let is_wanted = name == variables::RUNPOD_LOG_LEVEL || name.starts_with(OF_TRACES);
        Some((name, value.into_string().ok()?)).filter(|_| is_wanted)
    })
}

/// A worker of the app in a pod.
fn in_pod(place: Place, pod: AwaitedPod, environment: Vec<(String, String)>) -> Start {
    // Some of them are secrets, too.
    let environment = inherited().chain(environment).collect();
    Start::Pod { place, pod, environment }
}

fn container(id: &WorkerId, image: &str, environment: Vec<(String, String)>) -> ContainerSpec {
    ContainerSpec {
        name: format!("flash-{id}"),
        image: image.to_owned(),
        entrypoint: Vec::new(),
        arguments: Vec::new(),
        environment,
        resources: None,
        shm_mib: None,
        gpus: Vec::new(),
    }
}

fn owned((name, value): (&'static str, String)) -> (String, String) {
    (name.to_owned(), value)
}
