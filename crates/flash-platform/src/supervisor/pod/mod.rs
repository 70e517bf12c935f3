//! Workers in pods: what is started is the first process of the app's image, which joins the platform and starts the worker as
//! its child. The worker's variables, signals, output and end go over that connection, so nothing secret stands in the
//! description of the pod but the key by which it joins once.
//!
//! The pod itself is a container of an engine on this machine, or a pod of a cluster.
mod awaited;
mod connection;

use std::{io, process::ExitStatus, sync::Arc, time::Duration};

use flash_protocol::wire::pod::ChildSignal;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub(crate) use self::awaited::{AwaitedPod, Pods};
use self::connection::{Connection, End};
use super::{
    child::SpawnError,
    cluster::{InCluster, OnWait, StartInCluster},
    container::{self, Container, Lookup, LookupOf},
    exit::Exit,
    lifeline::Lifeline,
    output::{Carried, LastLines, OnLine, Output},
};

/// How long the pod may take to end once it was asked to.
const LEAVE: Duration = Duration::from_secs(10);
/// How long frames that the pod sent before it ended may take to be read.
const LAST_FRAMES: Duration = Duration::from_secs(5);

/// A pod to start.
pub(super) struct Spec {
    pub place: SpecOfPlace,
    pub pod: AwaitedPod,
    /// The variables of the worker in it.
    pub environment: Vec<(String, String)>,
}

/// Where a pod is to run.
pub(super) enum SpecOfPlace {
    Container(Box<container::Spec>),
    Cluster(Box<StartInCluster>, OnWait),
}

/// Where a pod runs.
enum Place {
    Container(Box<Container>),
    Cluster(InCluster),
}

/// A running pod with its worker.
pub(super) struct Pod {
    place: Place,
    last_lines: LastLines,
    signals: mpsc::UnboundedSender<ChildSignal>,
    connection: AbortOnDropHandle<End>,
    /// The first process has joined.
    joined: CancellationToken,
    /// The result of the connection, kept for repeated calls.
    end: Option<End>,
    /// When it is killed if it has not ended: it was asked to.
    kill_at: Option<Instant>,
}

impl Pod {
    /// Starts it with its share of the machine, its worker's output going to `on_line`.
    pub(super) async fn spawn(spec: Spec, lifeline: &Lifeline, on_line: OnLine) -> Result<Self, SpawnError> {
        let Spec { place, pod, environment } = spec;
        let output = Carried::new(on_line.clone())
            .map_err(|source| SpawnError { program: place.program().into(), source })?;
        let last_lines = output.last();
        let place = place.start(lifeline, on_line.clone()).await?;
        let (signals, received) = mpsc::unbounded_channel();
        let joined = CancellationToken::new();
        let connection =
            Connection { pod, joined: joined.clone(), environment, signals: received, output, on_line };
        Ok(Self {
            place,
            last_lines,
            signals,
            connection: AbortOnDropHandle::new(tokio::spawn(connection.run())),
            joined,
            end: None,
            kill_at: None,
        })
    }

    /// The worker's output.
    pub(super) fn output(&self) -> Output {
        Output::Carried(self.last_lines.clone())
    }

    /// How to find the worker among the processes of this machine, if it is one.
    pub(super) fn lookup(&self) -> Option<Lookup> {
        match &self.place {
            Place::Container(container) => Some(container.lookup(LookupOf::Child)),
            Place::Cluster(_) => None,
        }
    }

    /// Cancelled once its first process runs and has joined the platform.
    pub(super) fn joined(&self) -> CancellationToken {
        self.joined.clone()
    }

    /// Asks the worker to end, and the pod with it.
    pub(super) fn terminate(&self) {
        // Fails if it has ended. Kept until it has joined.
        let _ = self.signals.send(ChildSignal::Terminate);
        // An engine may forget the signal while it makes the container.
        if !self.joined.is_cancelled() {
            match &self.place {
                Place::Container(container) => container.terminate(),
                Place::Cluster(pod) => pod.terminate(),
            }
        }
    }

    /// Ends the pod, with everything in it.
    pub(super) fn kill(&mut self) {
        self.place.kill();
    }

    /// Waits until the pod is gone, and reads the worker's last output. Can be called again if the future was dropped.
    pub(super) async fn wait(&mut self) -> io::Result<Exit> {
        self.until_ended().await?;
        if self.end.is_none() && self.joined.is_cancelled() {
            let end = tokio::time::timeout(LAST_FRAMES, &mut self.connection).await;
            // Never asked again: it may have ended.
            self.end = Some(end.ok().and_then(Result::ok).unwrap_or(End::Lost));
        }
        self.connection.abort();
        let status = match &self.end {
            Some(End::Worker(status)) => Some(*status),
            Some(End::NotStarted(_) | End::Lost) | None => None,
        };
        let exit = self.place.wait_as(status).await?;
        if let Some(End::NotStarted(reason)) = &self.end {
            return Err(io::Error::other(format!("could not start in its container: {reason}")));
        }
        let own = self.output().last_lines();
        Ok(if own.is_empty() { exit } else { Exit { last_lines: own, ..exit } })
    }

    /// Until its container has ended, which follows the worker.
    async fn until_ended(&mut self) -> io::Result<()> {
        loop {
            let leave_limit = async {
                match self.kill_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // First, so that the end of the worker is known where both have ended.
                biased;
                end = &mut self.connection, if self.end.is_none() => {
                    // Fails if it panicked.
                    self.end = Some(end.unwrap_or(End::Lost));
                    self.kill_at = Some(Instant::now() + LEAVE);
                }
                ended = self.place.ended() => return ended,
                () = leave_limit => {
                    self.kill_at = None;
                    self.place.kill();
                }
            }
        }
    }
}

impl SpecOfPlace {
    /// What is asked to start it, for messages.
    fn program(&self) -> &str {
        match self {
            Self::Container(spec) => spec.engine.program(),
            Self::Cluster(..) => "a pod",
        }
    }

    async fn start(self, lifeline: &Lifeline, on_line: OnLine) -> Result<Place, SpawnError> {
        Ok(match self {
            // What the first process says is about the pod, never about work.
            Self::Container(spec) => Place::Container(Box::new(
                Container::spawn(*spec, lifeline, Arc::new(|| None), on_line).await?,
            )),
            Self::Cluster(start, on_wait) => Place::Cluster(InCluster::start(*start, on_wait)),
        })
    }
}

impl Place {
    fn kill(&mut self) {
        match self {
            Self::Container(container) => container.kill(),
            Self::Cluster(pod) => pod.kill(),
        }
    }

    async fn ended(&mut self) -> io::Result<()> {
        match self {
            Self::Container(container) => container.ended().await,
            Self::Cluster(pod) => pod.ended().await,
        }
    }

    /// How it ended, for a worker in it that has ended with this status.
    async fn wait_as(&mut self, worker: Option<ExitStatus>) -> io::Result<Exit> {
        match self {
            Self::Container(container) => container.wait_as(worker).await,
            Self::Cluster(pod) => pod.wait_as(worker).await,
        }
    }
}
