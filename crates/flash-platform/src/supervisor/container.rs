//! Workers that are containers of built images, from start to removal.
//!
//! A container is started with the engine's client and ended through the engine, because killing only the client
//! would leave the container running.
use std::{
    io::{self, Seek as _, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use flash_containers::{Call, ContainerSpec, Engine, EngineError, Removed};
use flash_process::parent_death::OnParentDeath;
use flash_text::error_chain;
use nix::sys::signal::Signal;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    cgroup::MemoryKill,
    child::{Child, SpawnError, signal_group, signal_process},
    container_removal::{MAKING, Removal},
    exit::{Exit, signalled},
    isolation::ContainerAllocation,
    lifeline::Lifeline,
    output::{CurrentWork, Line, OnLine, Output, Source},
};

/// How long to wait before a client is asked to end again.
const BETWEEN_REQUESTS: Duration = Duration::from_secs(5);
/// The pauses between attempts at the removal of a container: each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long to retry. After that, only the lifeline tries again, at the end.
const REMOVAL_LIMIT: Duration = Duration::from_secs(600);

/// What podman's monitor leaves in the directory that it was started in when the kernel killed a process of
/// the container for its memory.
const MEMORY_KILL: &str = "oom";

/// A container to start.
pub(crate) struct Spec {
    pub engine: Arc<Engine>,
    pub container: ContainerSpec,
    /// Made for it, and removed with it.
    pub directory: PathBuf,
    pub allocation: ContainerAllocation,
}

/// A running container.
pub(crate) struct Container {
    name: String,
    engine: Arc<Engine>,
    directory: PathBuf,
    /// The engine's client. It prints the container's output, passes SIGTERM on, and ends with its exit code.
    client: Child,
    #[expect(dead_code, reason = "held until the worker has ended")]
    allocation: ContainerAllocation,
    /// What its memory is limited to.
    memory_gb: Option<u32>,
    /// The client has ended.
    ended: CancellationToken,
    killing: Option<JoinHandle<()>>,
    removing: Option<JoinHandle<Result<Option<MemoryKill>, EngineError>>>,
    /// The result of its removal, kept for repeated calls.
    removed: Option<Option<MemoryKill>>,
    lifeline: Lifeline,
    on_line: OnLine,
}

/// Finds the processes of a container.
#[derive(Debug)]
pub(crate) struct Lookup {
    name: String,
    engine: Arc<Engine>,
    of: LookupOf,
}

/// Which process of a container is the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LookupOf {
    /// The first one.
    FirstProcess,
    /// The one that the first one has started.
    Child,
}

impl Lookup {
    /// The process group of the worker, on this machine, while it runs: engines start the first process as the
    /// leader of one, and it starts the worker as one. Its workers reach the platform on loopback, so the engine cannot
    /// be on another machine.
    pub(crate) async fn group(&self) -> Option<i32> {
        let first = self.engine.process_of_container(&self.name).await?;
        match self.of {
            LookupOf::FirstProcess => Some(first),
            // It reads `/proc`.
            LookupOf::Child => tokio::task::spawn_blocking(move || child_of(first)).await.ok().flatten(),
        }
    }
}

impl Container {
    /// Starts it with its share of the machine, its output going to `on_line`.
    pub(crate) async fn spawn(
        spec: Spec,
        lifeline: &Lifeline,
        current_work: CurrentWork,
        on_line: OnLine,
    ) -> Result<Self, SpawnError> {
        let Spec { engine, container: spec, directory, allocation } = spec;
        let spec = with_allocation(spec, &allocation);
        let memory_gb = spec.resources.and_then(|resources| resources.memory_gb);
        let client = start(&engine, &spec, &directory, lifeline, current_work, on_line.clone())
            .await
            .map_err(|source| SpawnError { program: engine.program().into(), source })?;
        Ok(Self {
            name: spec.name,
            engine,
            directory,
            client,
            allocation,
            memory_gb,
            ended: CancellationToken::new(),
            killing: None,
            removing: None,
            removed: None,
            lifeline: lifeline.clone(),
            on_line,
        })
    }

    /// Its output.
    pub(crate) fn output(&self) -> Output {
        self.client.output()
    }

    /// How to find its processes among those of this machine.
    pub(super) fn lookup(&self, of: LookupOf) -> Lookup {
        Lookup { name: self.name.clone(), engine: self.engine.clone(), of }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        // Not its group: without root, podman's file system of the container may be a process in it.
        self.client.signal_alone(Signal::SIGTERM);
    }

    /// Ends it, and whatever it started.
    pub(crate) fn kill(&mut self) {
        if self.killing.is_none() && self.removing.is_none() {
            let (engine, name) = (self.engine.clone(), self.name.clone());
            let (client, ended) = (self.client.group(), self.ended.clone());
            self.killing = Some(tokio::spawn(kill(engine, name, client, ended)));
        }
    }

    /// Waits until the container's processes have ended. Can be called again.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        self.client.ended().await?;
        if !self.ended.is_cancelled() {
            self.ended.cancel();
            // At once, and only once: another process may get its number.
            self.lifeline.remove(self.client.group());
        }
        Ok(())
    }

    /// Waits until the container is gone, and reads its last output. Can be called again if the future was dropped.
    pub(crate) async fn wait(&mut self) -> io::Result<Exit> {
        self.wait_as(None).await
    }

    /// As [`wait`](Self::wait), for a worker that is not the first process and has ended with this status.
    pub(super) async fn wait_as(&mut self, worker: Option<ExitStatus>) -> io::Result<Exit> {
        self.ended().await?;
        let status = match worker {
            Some(status) => status,
            None => signalled(self.client.ended().await?),
        };
        let memory = match self.removed {
            Some(memory) => memory,
            None => self.remove_once(status).await?,
        };
        let last_lines = self.client.last_lines().await;
        Ok(Exit { status, memory, reason: None, last_lines })
    }

    /// Removes the container, which may still run whatever its client reported.
    async fn remove_once(&mut self, status: ExitStatus) -> io::Result<Option<MemoryKill>> {
        if let Some(killing) = &mut self.killing
            && self.removing.is_none()
        {
            let _ = killing.await;
        }
        let was_killed_by_others = status.signal() == Some(Signal::SIGKILL as i32) && self.killing.is_none();
        let asks_for_memory = self.memory_gb.filter(|_| was_killed_by_others);
        let removing = self.removing.get_or_insert_with(|| {
            tokio::spawn(clean_up(
                self.engine.clone(),
                self.name.clone(),
                self.directory.clone(),
                asks_for_memory,
                self.on_line.clone(),
            ))
        });
        let removed = removing.await;
        self.removing = None;
        let memory = removed
            .map_err(io::Error::other)?
            // The lifeline keeps its name and tries again at the end.
            .map_err(|error| io::Error::other(format!("it may still run: {}", error_chain(&error))))?;
        self.lifeline.remove_container(&self.name);
        self.removed = Some(memory);
        Ok(memory)
    }
}

/// What it runs with: the image and its variables, and its part of the machine.
fn with_allocation(mut spec: ContainerSpec, allocation: &ContainerAllocation) -> ContainerSpec {
    // The project's own settings win.
    let own = std::mem::take(&mut spec.environment);
    spec.environment = allocation.environment.iter().cloned().chain(own).collect();
    spec.resources = allocation.resources;
    spec.shm_mib = allocation.shm_mib;
    spec.gpus.clone_from(&allocation.gpus);
    spec
}

/// The process that this one has started; `None` where the system does not say.
#[cfg(target_os = "linux")]
fn child_of(process: i32) -> Option<i32> {
    let process = procfs::process::Process::new(process).ok()?;
    // It has one thread.
    let children = process.task_main_thread().ok()?.children().ok()?;
    children.into_iter().next().and_then(|child| i32::try_from(child).ok())
}

/// As on Linux, where nothing can be known.
#[cfg(not(target_os = "linux"))]
fn child_of(_: i32) -> Option<i32> {
    None
}

async fn start(
    engine: &Engine,
    spec: &ContainerSpec,
    directory: &Path,
    lifeline: &Lifeline,
    current_work: CurrentWork,
    on_line: OnLine,
) -> io::Result<Child> {
    let Call { arguments, environment, input } = engine.run(spec).map_err(io::Error::other)?;
    let mut command = Child::command(Path::new(engine.program()), &arguments);
    std::fs::create_dir_all(directory)?;
    command.envs(environment).current_dir(directory);
    if !input.is_empty() {
        // A file without a name, which exists while the client has it open and which others cannot read.
        let mut file = tempfile::tempfile()?;
        file.write_all(input.as_bytes())?;
        file.rewind()?;
        command.stdin(Stdio::from(file));
    }
    let removal = Removal { program: engine.program().to_owned(), arguments: engine.remove() };
    // Before it is started: a name without a container costs nothing.
    lifeline.add_container(&spec.name, &removal);
    match Child::spawn(command, OnParentDeath::Terminate, current_work, on_line).await {
        Ok(client) => {
            lifeline.add_client(client.group());
            Ok(client)
        }
        Err(error) => {
            lifeline.remove_container(&spec.name);
            Err(error)
        }
    }
}

/// Removes the container, which also ends its client. If there is no container yet, the client is asked to end, and
/// killed only if that does not help: podman leaves half a container behind when it is killed while creating one.
async fn kill(engine: Arc<Engine>, name: String, client: i32, ended: CancellationToken) {
    let until = Instant::now() + MAKING;
    loop {
        // Errors here are reported by the removal, which tries again.
        let removed = engine.remove_container(&name).await;
        if ended.is_cancelled() {
            return;
        }
        if !matches!(removed, Ok(Removed::Now)) {
            signal_process(client, Signal::SIGTERM);
        }
        // It may have finished the container that it was making, and forgotten the signal.
        if tokio::time::timeout(BETWEEN_REQUESTS, ended.cancelled()).await.is_ok() {
            return;
        }
        if Instant::now() >= until {
            return signal_group(client, Signal::SIGKILL);
        }
    }
}

async fn clean_up(
    engine: Arc<Engine>,
    name: String,
    directory: PathBuf,
    asks_for_memory: Option<u32>,
    on_line: OnLine,
) -> Result<Option<MemoryKill>, EngineError> {
    let memory = match asks_for_memory {
        None => None,
        Some(gb) if directory.join(MEMORY_KILL).exists() || engine.was_killed_for_memory(&name).await => {
            Some(MemoryKill::OverLimit { gb })
        }
        // Not all engines see it.
        Some(gb) => Some(MemoryKill::Perhaps { gb }),
    };
    remove(&engine, &name, &on_line).await?;
    // It goes with `flash` at the latest.
    let _ = tokio::fs::remove_dir_all(&directory).await;
    Ok(memory)
}

/// Removes the container, with retries. Until it is removed, the worker counts as alive and keeps its share of the
/// machine.
async fn remove(engine: &Engine, name: &str, on_line: &OnLine) -> Result<(), EngineError> {
    let until = Instant::now() + REMOVAL_LIMIT;
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(error) = engine.remove_container(name).await else { return Ok(()) };
        if Instant::now() >= until {
            return Err(error);
        }
        if pause == FIRST_PAUSE {
            let reason = error_chain(&error);
            let text =
                format!("could not remove container {name}, so its worker is not replaced yet: {reason}");
            on_line(Line { source: Source::Stderr, text, work: None });
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

#[cfg(test)]
mod tests {
    use flash_containers::Resources;

    use super::*;

    #[test]
    fn a_container_runs_with_what_its_worker_type_asks_for() {
        let text = |text: &str| text.to_owned();
        let spec = ContainerSpec {
            name: text("flash-w-1"),
            image: text("sha256:abc"),
            entrypoint: Vec::new(),
            arguments: Vec::new(),
            environment: vec![(text("RAYON_NUM_THREADS"), text("1"))],
            resources: None,
            shm_mib: None,
            gpus: Vec::new(),
        };
        let resources = Resources { vcpus: Some(2), memory_gb: Some(8), processes: 4096 };
        let allocation = ContainerAllocation::of_test(resources, 512, "GPU-a");
        let spec = with_allocation(spec, &allocation);
        assert_eq!((spec.shm_mib, spec.resources), (Some(512), Some(resources)));
        assert_eq!(spec.gpus, ["GPU-a"]);
        // The last value of a variable counts: the project's.
        assert_eq!(spec.environment.last(), Some(&(text("RAYON_NUM_THREADS"), text("1"))));
        assert_eq!(spec.environment.len(), 2);
    }

    #[test]
    fn a_signal_in_a_container_is_told_as_one() {
        let code = |code: i32| signalled(ExitStatus::from_raw(code << 8));
        assert_eq!(code(137).signal(), Some(9));
        assert_eq!(code(134).signal(), Some(6));
        assert_eq!((code(3).code(), code(128).code(), code(255).code()), (Some(3), Some(128), Some(255)));
        assert_eq!(signalled(ExitStatus::from_raw(15)).signal(), Some(15));
    }
}
