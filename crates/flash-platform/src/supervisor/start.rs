//! A running worker: a process of this machine, or a container.
use std::{io, path::PathBuf, sync::Arc};

use flash_containers::{ContainerSpec, Engine};
use flash_protocol::manifest::WorkerType;

use super::{
    Exit, Isolation, Lease, Lifeline, Output, SpawnError, Spec,
    container::{self, Container, Lookup},
    output::{CurrentWork, OnLine},
    process::Process,
};

/// What to start.
pub(crate) enum Start {
    Process(Spec),
    Container {
        engine: Arc<Engine>,
        spec: ContainerSpec,
        /// Made for it, and removed with it.
        directory: PathBuf,
    },
}

/// See the module.
pub(crate) struct Running(Kind);

enum Kind {
    Process(Box<Process>),
    Container(Box<Container>),
}

/// Where a worker's output goes.
pub(crate) struct OutputHandlers {
    pub current_work: CurrentWork,
    pub on_line: OnLine,
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
        handlers: OutputHandlers,
    ) -> Result<Self, SpawnError> {
        let OutputHandlers { current_work, on_line } = handlers;
        match start {
            Start::Process(spec) => {
                let allocation = isolation.for_process(worker_type, id, gpus).await;
                let process = Process::spawn(&spec, allocation, lifeline, current_work, on_line).await?;
                Ok(Self(Kind::Process(Box::new(process))))
            }
            Start::Container { engine, spec, directory } => {
                let allocation = isolation.for_container(worker_type, gpus);
                let spec = container::Spec { engine, container: spec, directory, allocation };
                let container = Container::spawn(spec, lifeline, current_work, on_line).await?;
                Ok(Self(Kind::Container(Box::new(container))))
            }
        }
    }

    /// Its output.
    pub(crate) fn output(&self) -> Arc<Output> {
        match &self.0 {
            Kind::Process(process) => process.output(),
            Kind::Container(container) => container.output(),
        }
    }

    /// The process group of one that is a process of this machine.
    pub(crate) fn group(&self) -> Option<i32> {
        match &self.0 {
            Kind::Process(process) => Some(process.group()),
            Kind::Container(_) => None,
        }
    }

    /// How to find the processes of one that is a container.
    pub(crate) fn lookup(&self) -> Option<Lookup> {
        match &self.0 {
            Kind::Process(_) => None,
            Kind::Container(container) => Some(container.lookup()),
        }
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        match &self.0 {
            Kind::Process(process) => process.terminate(),
            Kind::Container(container) => container.terminate(),
        }
    }

    /// Ends it, and whatever it started.
    pub(crate) fn kill(&mut self) {
        match &mut self.0 {
            Kind::Process(process) => process.kill(),
            Kind::Container(container) => container.kill(),
        }
    }

    /// Waits until nothing of it is left, and reads its last output. Can be called again if the future was dropped.
    pub(crate) async fn wait(&mut self) -> io::Result<Exit> {
        match &mut self.0 {
            Kind::Process(process) => process.wait().await,
            Kind::Container(container) => container.wait().await,
        }
    }
}
