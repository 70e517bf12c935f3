//! A running worker: a process of this machine, a container, or a child of the first process of a pod.
use std::{io, path::PathBuf, sync::Arc};

use flash_containers::{ContainerSpec, Engine};
use flash_protocol::manifest::WorkerType;
use tokio_util::sync::CancellationToken;

use super::{
    Exit, Isolation, Lease, Lifeline, OnWait, Output, SpawnError, Spec, StartInCluster,
    container::{self, Container, Lookup, LookupOf},
    isolation::ContainerAllocation,
    output::{CurrentWork, OnLine},
    pod::{self, AwaitedPod, Pod, SpecOfPlace},
    process::Process,
};

/// What to start.
pub(crate) enum Start {
    Process(Spec),
    Container(StartContainer),
    /// A worker of the app in a pod, whose first process joins the platform and starts it.
    Pod {
        place: Place,
        pod: AwaitedPod,
        /// The variables of the worker.
        environment: Vec<(String, String)>,
    },
}

/// Where a pod is to run.
pub(crate) enum Place {
    Container(StartContainer),
    Cluster(Box<StartInCluster>),
}

/// A container to start.
pub(crate) struct StartContainer {
    pub engine: Arc<Engine>,
    pub spec: ContainerSpec,
    /// Made for it, and removed with it.
    pub directory: PathBuf,
}

/// See the module.
pub(crate) struct Running(Kind);

enum Kind {
    Process(Box<Process>),
    Container(Box<Container>),
    Pod(Box<Pod>),
}

/// What is told of a worker while it runs.
pub(crate) struct Handlers {
    pub current_work: CurrentWork,
    pub on_line: OnLine,
    /// Told by those that run in a cluster.
    pub on_wait: OnWait,
}

impl StartContainer {
    fn with(self, allocation: ContainerAllocation) -> container::Spec {
        let Self { engine, spec, directory } = self;
        container::Spec { engine, container: spec, directory, allocation }
    }
}

impl Running {
    /// Starts a worker on this machine, with its GPUs and what else is allocated to it.
    ///
    /// # Errors
    /// When its program, or the client of its engine, cannot be started.
    pub(crate) async fn start(
        start: Start,
        worker_type: &WorkerType,
        id: &str,
        gpus: Option<Lease>,
        isolation: &Isolation,
        lifeline: &Lifeline,
        handlers: Handlers,
    ) -> Result<Self, SpawnError> {
        let Handlers { current_work, on_line, on_wait } = handlers;
        match start {
            Start::Process(spec) => {
                let allocation = isolation.for_process(worker_type, id, gpus).await;
                let process = Process::spawn(&spec, allocation, lifeline, current_work, on_line).await?;
                Ok(Self(Kind::Process(Box::new(process))))
            }
            Start::Container(container) => {
                let spec = container.with(isolation.for_container(worker_type, gpus));
                let container = Container::spawn(spec, lifeline, current_work, on_line).await?;
                Ok(Self(Kind::Container(Box::new(container))))
            }
            Start::Pod { place, pod, environment } => {
                let place = match place {
                    Place::Container(container) => SpecOfPlace::Container(Box::new(
                        container.with(isolation.for_container(worker_type, gpus)),
                    )),
                    Place::Cluster(start) => SpecOfPlace::Cluster(start, on_wait),
                };
                let spec = pod::Spec { place, pod, environment };
                Ok(Self(Kind::Pod(Box::new(Pod::spawn(spec, lifeline, on_line).await?))))
            }
        }
    }

    /// Its output.
    pub(crate) fn output(&self) -> Output {
        match &self.0 {
            Kind::Process(process) => process.output(),
            Kind::Container(container) => container.output(),
            Kind::Pod(pod) => pod.output(),
        }
    }

    /// The process group of one that is a process of this machine.
    pub(crate) fn group(&self) -> Option<i32> {
        match &self.0 {
            Kind::Process(process) => Some(process.group()),
            Kind::Container(_) | Kind::Pod(_) => None,
        }
    }

    /// How to find the processes of one that is a container.
    pub(crate) fn lookup(&self) -> Option<Lookup> {
        match &self.0 {
            Kind::Process(_) => None,
            Kind::Container(container) => Some(container.lookup(LookupOf::FirstProcess)),
            Kind::Pod(pod) => pod.lookup(),
        }
    }

    /// Cancelled once it has its place on a machine and runs; `None` for one that runs at once.
    pub(crate) fn placed(&self) -> Option<CancellationToken> {
        match &self.0 {
            Kind::Process(_) | Kind::Container(_) => None,
            Kind::Pod(pod) => Some(pod.joined()),
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        match &self.0 {
            Kind::Process(process) => process.terminate(),
            Kind::Container(container) => container.terminate(),
            Kind::Pod(pod) => pod.terminate(),
        }
    }

    /// Ends it, and whatever it started.
    pub(crate) fn kill(&mut self) {
        match &mut self.0 {
            Kind::Process(process) => process.kill(),
            Kind::Container(container) => container.kill(),
            Kind::Pod(pod) => pod.kill(),
        }
    }

    /// Waits until nothing of it is left, and reads its last output. Can be called again if the future was dropped.
    pub(crate) async fn wait(&mut self) -> io::Result<Exit> {
        match &mut self.0 {
            Kind::Process(process) => process.wait().await,
            Kind::Container(container) => container.wait().await,
            Kind::Pod(pod) => pod.wait().await,
        }
    }
}
