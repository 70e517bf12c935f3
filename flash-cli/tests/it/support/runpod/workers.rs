//! Workers of endpoints: how many there are, and what they are.
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read},
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use nix::{
    sys::resource::{Resource, getrlimit},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{
    cloud::{Inner, LOOK},
    queue,
    state::{Endpoint, Stage, State, Worker},
};

/// How long a worker that cannot work is shown.
const SHOWN_UNHEALTHY: Duration = Duration::from_secs(2);
/// What a worker may take for its end.
const DRAIN: Duration = Duration::from_secs(20);
/// Open files and processes that podman gives a container.
const PODMANS_OWN: u64 = 1 << 20;
/// Between two looks at the health of a load-balanced worker.
const PROBE: Duration = Duration::from_millis(100);

/// A worker to start.
pub struct Launch {
    pub worker: String,
    pub image: String,
    pub environment: BTreeMap<String, String>,
}

/// Takes lines of a worker: of its container, or of the system about it.
pub type Tell = Arc<dyn Fn(&'static str, String) + Send + Sync>;

/// What starts workers.
pub trait Workers: Send + Sync + 'static {
    /// Nothing, where workers are only played.
    fn start(&self, launch: Launch, tell: Tell) -> Option<Box<dyn Running>>;

    /// Nothing is started any more; what is left is removed.
    fn end(&self) {}
}

/// A worker that was started. Dropped, it is killed.
pub trait Running: Send {
    /// How it ended, once it did.
    fn ended(&mut self) -> Option<String>;

    /// Asks it to end.
    fn stop(&mut self);
}

/// Workers are only played.
pub struct NoWorkers;

impl Workers for NoWorkers {
    fn start(&self, _: Launch, _: Tell) -> Option<Box<dyn Running>> {
        None
    }
}

/// Containers of podman, with a store of their own. They have the network of this machine.
pub struct Containers {
    store: TempDir,
}

impl Containers {
    pub fn new() -> Self {
        Self { store: TempDir::new().unwrap() }
    }

    /// Part of the command lines of all that it starts.
    fn arguments(&self) -> Vec<String> {
        let place = |name: &str| self.store.path().join(name).to_str().unwrap().to_owned();
        let mut arguments = vec![format!("--root={}", place("root")), format!("--runroot={}", place("run"))];
        // crun refuses groups of both versions at once; runc takes them.
        let has_runc = ["/usr/sbin/runc", "/usr/bin/runc"].iter().any(|runc| Path::new(runc).exists());
        if has_runc && Path::new("/sys/fs/cgroup/unified/cgroup.procs").exists() {
            arguments.push("--runtime=runc".to_owned());
        }
        arguments
    }
}

impl Workers for Containers {
    fn start(&self, launch: Launch, tell: Tell) -> Option<Box<dyn Running>> {
        let name = format!("stand-in-{}-{}", std::process::id(), launch.worker);
        tell("system", format!("create container {}", launch.image));
        let mut command = Command::new("podman");
        command.args(self.arguments()).args(["run", "--rm", "--name", &name, "--network=host", "--quiet"]);
        command.args(["--pull=missing", "--tls-verify=false", "--log-driver=passthrough"]);
        command.args(limits());
        for (variable, value) in &launch.environment {
            // Some would change podman itself; none of these is a secret.
            match matches!(variable.as_str(), "HOME" | "PATH" | "TMPDIR") || variable.starts_with("CONTAINER")
            {
                true => command.arg(format!("--env={variable}={value}")),
                false => command.arg(format!("--env={variable}")).env(variable, value),
            };
        }
        command.arg(&launch.image).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        copy_lines(stdout, tell.clone());
        copy_lines(stderr, tell);
        Some(Box::new(Container { child, name, arguments: self.arguments() }))
    }

    fn end(&self) {
        let podman =
            |arguments: &[&str]| Command::new("podman").args(self.arguments()).args(arguments).output();
        // Nothing more can be done about what is left.
        let _ = podman(&["rm", "--all", "--force", "--time=0"]);
        let _ = podman(&["rmi", "--all", "--force"]);
    }
}

/// Where this process has less than podman would give, and may not raise its own.
fn limits() -> Vec<String> {
    let hard = |resource| getrlimit(resource).map_or(u64::MAX, |(_, hard)| hard);
    // Podman lowers its own limit of processes to this.
    let ids = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
    let ids: u64 = ids.trim().parse().unwrap_or(u64::MAX);
    let (files, processes) = (hard(Resource::RLIMIT_NOFILE), hard(Resource::RLIMIT_NPROC));
    [("nofile", files, files), ("nproc", processes, processes.min(ids))]
        .into_iter()
        .filter(|(_, hard, _)| *hard < PODMANS_OWN)
        .map(|(name, _, limit)| format!("--ulimit={name}={limit}:{limit}"))
        .collect()
}

fn copy_lines(from: impl Read + Send + 'static, tell: Tell) {
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            tell("container", line);
        }
    });
}

struct Container {
    child: Child,
    name: String,
    arguments: Vec<String>,
}

impl Running for Container {
    fn ended(&mut self) -> Option<String> {
        self.child.try_wait().unwrap().map(|status| status.to_string())
    }

    fn stop(&mut self) {
        // Its client passes it on.
        let _ = kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), Signal::SIGTERM);
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.ended().is_none() {
            let _ = Command::new("podman")
                .args(&self.arguments)
                .args(["rm", "--force", "--ignore", "--time=0", &self.name])
                .output();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Keeps the number of workers right, for good.
pub async fn look_after(inner: Arc<Inner>) {
    let mut probed = Instant::now();
    loop {
        let gone = adjust(&inner);
        // Their end may take a while, in which nobody should have to wait.
        if !gone.is_empty() {
            tokio::task::spawn_blocking(move || drop(gone));
        }
        if probed.elapsed() > PROBE {
            probe(&inner).await;
            probed = Instant::now();
        }
        let _ = tokio::time::timeout(LOOK, inner.changed.notified()).await;
    }
}

/// One look at all endpoints; answers what is to be dropped.
fn adjust(inner: &Arc<Inner>) -> Vec<Worker> {
    let mut gone = Vec::new();
    let mut state = inner.state();
    gone.extend(std::mem::take(&mut state.deleted).into_iter().flat_map(|endpoint| endpoint.workers));
    let mut changed = false;
    let ids: Vec<String> = state.endpoints.keys().cloned().collect();
    for id in ids {
        let Some(mut endpoint) = state.endpoints.remove(&id) else { continue };
        changed |= reap(&mut state, &mut endpoint, &mut gone);
        changed |= queue::time_out(&mut endpoint);
        mature(inner, &state, &mut endpoint);
        release_surplus(&mut endpoint, &mut gone);
        while endpoint.workers.iter().filter(|worker| counts(&endpoint, worker)).count() < endpoint.wanted() {
            let worker = start(inner, &mut state, &id, &endpoint);
            endpoint.workers.push(worker);
            changed = true;
        }
        state.endpoints.insert(id, endpoint);
    }
    if changed {
        inner.changed.notify_waiters();
    }
    gone
}

/// Whether it is one of those that there should be. A busy one of an older version finishes its work beside them.
fn counts(endpoint: &Endpoint, worker: &Worker) -> bool {
    !worker.is_leaving && worker.version == endpoint.version
}

/// Takes workers away that have ended, and gives their jobs to others, once.
fn reap(state: &mut State, endpoint: &mut Endpoint, gone: &mut Vec<Worker>) -> bool {
    let mut changed = false;
    let mut index = 0;
    while index < endpoint.workers.len() {
        let worker = &mut endpoint.workers[index];
        let ended = worker.running.as_mut().and_then(|running| running.ended());
        let is_over = match (worker.stage, &ended) {
            (Stage::Unhealthy { since }, _) if worker.running.is_some() => since.elapsed() > SHOWN_UNHEALTHY,
            (_, Some(_)) if worker.is_leaving => true,
            (_, Some(how)) => {
                let lines = state.lines.entry(worker.id.clone()).or_default();
                lines.push("system", format!("worker exited: {how}"));
                worker.stage = Stage::Unhealthy { since: Instant::now() };
                let jobs = std::mem::take(&mut worker.jobs);
                jobs.into_iter().for_each(|job| queue::lost(endpoint, &job));
                changed = true;
                false
            }
            (_, None) => worker.is_leaving && worker.idle_since.elapsed() > DRAIN,
        };
        match is_over {
            true => {
                let worker = endpoint.workers.remove(index);
                if let Some(lines) = state.lines.get_mut(&worker.id) {
                    lines.forget_container();
                }
                gone.push(worker);
                changed = true;
            }
            false => index += 1,
        }
    }
    changed
}

/// Played workers become ready after some looks, or never.
fn mature(inner: &Inner, state: &State, endpoint: &mut Endpoint) {
    for worker in endpoint.workers.iter_mut().filter(|worker| worker.running.is_none()) {
        if worker.stage == Stage::Initializing && worker.looks >= inner.options.looks_until_ready {
            let is_broken = state.broken_images.iter().any(|part| worker.image.contains(part));
            worker.stage = if is_broken { Stage::Unhealthy { since: Instant::now() } } else { Stage::Ready };
            worker.idle_since = Instant::now();
        }
    }
}

/// Idle ones of an older version, too many ones, and those that nobody needed for a while.
fn release_surplus(endpoint: &mut Endpoint, gone: &mut Vec<Worker>) {
    let (wanted, most, patience) = (endpoint.wanted(), endpoint.most(), endpoint.idle_timeout());
    let latest = endpoint.version;
    let mut there =
        endpoint.workers.iter().filter(|worker| !worker.is_leaving && worker.version == latest).count();
    for worker in endpoint.workers.iter_mut().rev().filter(|worker| !worker.is_leaving && !worker.is_busy()) {
        let is_stale = worker.version < latest;
        let is_unneeded = there > most || there > wanted && worker.idle_since.elapsed() > patience;
        if is_stale || is_unneeded {
            there -= usize::from(!is_stale);
            worker.is_leaving = true;
            worker.idle_since = Instant::now();
            if let Some(running) = &mut worker.running {
                running.stop();
            }
        }
    }
    // Played ones need no time for it.
    while let Some(index) =
        endpoint.workers.iter().position(|worker| worker.is_leaving && worker.running.is_none())
    {
        gone.push(endpoint.workers.remove(index));
    }
}

fn start(inner: &Arc<Inner>, state: &mut State, id: &str, endpoint: &Endpoint) -> Worker {
    let name = state.id(&format!("{id}w"));
    let image = endpoint.shown["image"].as_str().unwrap_or_default().to_owned();
    let key = format!("worker-key-{name}");
    let mut environment = endpoint.env();
    for value in environment.values_mut() {
        for (secret, known) in &state.secrets {
            *value = value.replace(&format!("{{{{ RUNPOD_SECRET_{secret} }}}}"), known);
        }
    }
    let port = if endpoint.is_queue() { None } else { free_port(endpoint, &mut environment) };
    let queue = &inner.addresses.queue;
    let of_platform = [
        ("RUNPOD_WEBHOOK_GET_JOB", format!("{queue}/{id}/job-take/$ID?gpu=")),
        ("RUNPOD_WEBHOOK_POST_OUTPUT", format!("{queue}/{id}/job-done/$RUNPOD_POD_ID/$ID?gpu=")),
        ("RUNPOD_WEBHOOK_POST_STREAM", format!("{queue}/{id}/job-stream/$RUNPOD_POD_ID/$ID?gpu=")),
        ("RUNPOD_WEBHOOK_PING", format!("{queue}/{id}/ping/$RUNPOD_POD_ID?gpu=")),
    ];
    if endpoint.is_queue() {
        environment.extend(of_platform.map(|(name, value)| (name.to_owned(), value)));
    }
    for (variable, value) in [
        ("RUNPOD_PING_INTERVAL", "4000"),
        ("RUNPOD_AI_API_KEY", &key),
        ("RUNPOD_POD_ID", &name),
        ("RUNPOD_POD_HOSTNAME", &name),
        ("RUNPOD_ENDPOINT_ID", id),
        ("RUNPOD_DC_ID", "EU-RO-1"),
    ] {
        environment.insert(variable.to_owned(), value.to_owned());
    }
    environment.entry("RUNPOD_API_KEY".to_owned()).or_insert_with(|| key.clone());
    state.lines.entry(name.clone()).or_default();
    let tell: Tell = {
        // It must not keep the stand-in: its output may be read to its end later.
        let (inner, name) = (Arc::downgrade(inner), name.clone());
        Arc::new(move |source, line| {
            if let Some(inner) = inner.upgrade() {
                inner.state().lines.entry(name.clone()).or_default().push(source, line);
                inner.changed.notify_waiters();
            }
        })
    };
    let launch = Launch { worker: name.clone(), image: image.clone(), environment };
    // It may tell lines at once, for which it needs what is locked here.
    let running = inner.workers.start(launch, later(tell));
    Worker {
        id: name,
        version: endpoint.version,
        image,
        started: SystemTime::now(),
        stage: Stage::Initializing,
        jobs: std::collections::BTreeSet::new(),
        requests: 0,
        idle_since: Instant::now(),
        running,
        port,
        key,
        looks: 0,
        to_stop: Vec::new(),
        is_leaving: false,
    }
}

/// Lines are told one after the other by a thread of their own.
fn later(tell: Tell) -> Tell {
    let (sender, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.into_iter().for_each(|(source, line)| tell(source, line)));
    // The stand-in's end is no error of a worker.
    Arc::new(move |source, line| drop(sender.send((source, line))))
}

/// The port of this machine that stands for the port in the container. Nothing, where the exposed port, `PORT` and
/// `PORT_HEALTH` disagree: such workers are never ready.
fn free_port(endpoint: &Endpoint, environment: &mut BTreeMap<String, String>) -> Option<u16> {
    let port = environment.get("PORT")?.clone();
    let exposed = format!("{port}/http");
    let is_exposed =
        endpoint.shown["ports"].as_array().is_some_and(|ports| ports.iter().any(|port| *port == exposed));
    if environment.get("PORT_HEALTH") != Some(&port) || !is_exposed {
        return None;
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    environment.insert("PORT".to_owned(), free.to_string());
    environment.insert("PORT_HEALTH".to_owned(), free.to_string());
    Some(free)
}

/// Asks load-balanced workers whether they are healthy.
async fn probe(inner: &Arc<Inner>) {
    let mut asked = Vec::new();
    for (id, endpoint) in &inner.state().endpoints {
        let path = endpoint.env().get("HEALTH_CHECK_PATH").cloned().unwrap_or_else(|| "/ping".to_owned());
        let workers = endpoint.workers.iter().filter(|worker| worker.running.is_some());
        asked.extend(workers.filter_map(|worker| {
            Some((id.clone(), worker.id.clone(), format!("http://127.0.0.1:{}{path}", worker.port?)))
        }));
    }
    for (id, worker, url) in asked {
        let answer = inner.client.get(url).timeout(Duration::from_secs(2)).send().await;
        let is_healthy = answer.is_ok_and(|answer| answer.status() == 200);
        let mut state = inner.state();
        let Some(worker) = state.endpoints.get_mut(&id).and_then(|endpoint| endpoint.worker(&worker)) else {
            continue;
        };
        match (worker.stage, is_healthy) {
            (Stage::Initializing, true) => {
                worker.stage = Stage::Ready;
                worker.idle_since = Instant::now();
                inner.changed.notify_waiters();
            }
            (Stage::Ready, false) => worker.stage = Stage::Initializing,
            _ => {}
        }
    }
}
