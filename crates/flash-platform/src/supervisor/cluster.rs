//! Pods of a cluster: what the platform asks of a cluster, and one pod of it until it is gone.
//!
//! How a cluster is asked is left to the one who implements [`Cluster`].
use std::{fmt, io, os::unix::process::ExitStatusExt as _, process::ExitStatus, sync::Arc, time::Duration};

use async_trait::async_trait;
use flash_protocol::manifest::WorkerType;
use tokio::{sync::watch, task::JoinHandle};

use super::exit::{Exit, signalled};

/// How long a pod that is killed may take: never 0, which would free its place while its processes still run.
const KILLED: Duration = Duration::from_secs(1);
/// How long one that has not joined the platform may take to end.
const NOT_JOINED: Duration = Duration::from_secs(2);

/// A pod to make.
pub struct PodSpec {
    /// The worker's ID, which is the pod's name, too: lower-case letters, digits and `-`.
    pub name: String,
    /// What it needs of a node.
    pub worker_type: WorkerType,
    /// The release that it belongs to.
    pub release: u64,
    /// By its digest, as nodes pull it.
    pub image: String,
    /// The variables of its first process. Everyone who may read pods reads them.
    pub environment: Vec<(String, String)>,
}

/// How a pod ended, as the cluster says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodEnd {
    /// The exit code of its first process; `None` if it never had one, or if nothing is known of it any more.
    pub code: Option<i32>,
    /// More than the code, for people: `over its memory`, `evicted: the node was low on memory`.
    pub reason: Option<String>,
}

/// What a worker waits for before it can start, with the reason, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wait {
    /// A GPU, or a place on a node. Others may free it, such as the workers that it replaces.
    Place(String),
    /// Anything else: it may be in vain.
    Other(String),
}

impl Wait {
    /// The reason.
    pub fn reason(&self) -> &str {
        match self {
            Self::Place(reason) | Self::Other(reason) => reason,
        }
    }
}

/// Told what a pod waits for before it starts; `None`: for nothing any more.
pub type OnWait = Arc<dyn Fn(Option<Wait>) + Send + Sync>;

/// Set once the pod is to be removed, with the time that its processes get. Removed without much time once its sender is gone.
pub type Removal = watch::Receiver<Option<Duration>>;

/// A cluster where the platform itself runs, and its workers beside it.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// The URL of the platform, as pods reach it, without a slash at the end.
    fn platform_url(&self) -> &str;

    /// The key by which pods join the platform. [`Cluster::run`] gives it to the pod, not in its description.
    fn join_key(&self) -> &str;

    /// Makes a pod, and returns when it has ended and is to be removed from the cluster, or was removed. A pod that cannot be
    /// placed yet is waited for.
    ///
    /// # Errors
    /// Why it can never start, for people.
    async fn run(&self, pod: PodSpec, on_wait: OnWait, removal: Removal) -> Result<PodEnd, String>;
}

impl fmt::Debug for dyn Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("platform_url", &self.platform_url()).finish_non_exhaustive()
    }
}

/// A pod in a cluster, to start.
pub(crate) struct StartInCluster {
    pub cluster: Arc<dyn Cluster>,
    pub spec: PodSpec,
}

/// One that was started. Removed when dropped.
pub(super) struct InCluster {
    running: JoinHandle<Result<PodEnd, String>>,
    removal: watch::Sender<Option<Duration>>,
    /// The result, kept for repeated calls.
    end: Option<Result<PodEnd, String>>,
}

impl InCluster {
    pub(super) fn start(start: StartInCluster, on_wait: OnWait) -> Self {
        let StartInCluster { cluster, spec } = start;
        let (removal, asked) = watch::channel(None);
        // Not ended with this value: it has the pod removed.
        let running = tokio::spawn(async move { cluster.run(spec, on_wait, asked).await });
        Self { running, removal, end: None }
    }

    /// Asks it to end, before it has joined.
    pub(super) fn terminate(&self) {
        self.remove(NOT_JOINED);
    }

    /// Ends it, and whatever it started.
    pub(super) fn kill(&self) {
        self.remove(KILLED);
    }

    fn remove(&self, within: Duration) {
        self.removal.send_if_modified(|now| {
            let is_sooner = now.is_none_or(|now| within < now);
            if is_sooner {
                *now = Some(within);
            }
            is_sooner
        });
    }

    /// Waits until it has ended. Can be called again if the future was dropped.
    pub(super) async fn ended(&mut self) -> io::Result<()> {
        if self.end.is_none() {
            self.end = Some((&mut self.running).await.map_err(io::Error::other)?);
        }
        Ok(())
    }

    /// How it ended, for a worker in it that has ended with this status.
    pub(super) async fn wait_as(&mut self, worker: Option<ExitStatus>) -> io::Result<Exit> {
        self.ended().await?;
        let end = self.end.clone().unwrap_or_else(|| Ok(PodEnd::default()));
        let PodEnd { code, reason } = end.map_err(io::Error::other)?;
        let status = worker.unwrap_or_else(|| status(code));
        Ok(Exit { status, memory: None, reason, last_lines: Vec::new() })
    }
}

/// A pod that was taken away left no code: as if it was killed.
fn status(code: Option<i32>) -> ExitStatus {
    signalled(ExitStatus::from_raw(code.map_or(nix::libc::SIGKILL, |code| (code & 0xff) << 8)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ends its pods when they are to be removed.
    struct Obedient;

    #[async_trait]
    impl Cluster for Obedient {
        fn platform_url(&self) -> &'static str {
            "http://10.0.0.1:8000"
        }

        fn join_key(&self) -> &'static str {
            "key"
        }

        async fn run(&self, _: PodSpec, on_wait: OnWait, mut removal: Removal) -> Result<PodEnd, String> {
            on_wait(None);
            let removed = removal.wait_for(Option::is_some).await.map(|within| *within);
            match removed {
                Ok(Some(KILLED)) => Ok(PodEnd { code: Some(137), reason: None }),
                Ok(_) => Ok(PodEnd::default()),
                Err(_) => Err("dropped".to_owned()),
            }
        }
    }

    fn pod() -> InCluster {
        let worker_type = serde_json::json!({
            "name": "w", "kind": "queue", "compute": { "type": "cpu", "instances": ["cpu3c-1-2"] }, "workers_min": 0,
            "workers_max": 1, "idle_timeout_seconds": 60, "execution_timeout_seconds": 600, "max_concurrency": 1,
            "scaler": { "type": "queue_delay", "seconds": 4 },
        });
        let worker_type = serde_json::from_value(worker_type).unwrap();
        let spec = PodSpec {
            name: "w-1".to_owned(),
            worker_type,
            release: 1,
            image: "i@sha256:0".to_owned(),
            environment: Vec::new(),
        };
        let start = StartInCluster { cluster: Arc::new(Obedient), spec };
        InCluster::start(start, Arc::new(|_| {}))
    }

    #[tokio::test]
    async fn a_pod_ends_as_it_was_asked_to() {
        let mut killed = pod();
        killed.terminate();
        killed.kill();
        assert_eq!(killed.wait_as(None).await.unwrap().cause(), "killed by SIGKILL");
        assert_eq!(killed.wait_as(None).await.unwrap().cause(), "killed by SIGKILL", "again");
    }

    #[tokio::test]
    async fn a_worker_that_said_its_end_is_believed() {
        let mut ended = pod();
        ended.terminate();
        let exit = ended.wait_as(Some(ExitStatus::from_raw(3 << 8))).await.unwrap();
        assert_eq!(exit.cause(), "exit code 3");
    }
}
