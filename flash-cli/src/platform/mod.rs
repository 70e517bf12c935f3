//! The platform: our own local implementation of what the provider runs in its cloud.
//!
//! Owns releases and their life: start, readiness, switch, drain. A request enters through `gateway`, a
//! job waits in `queue`, `pool` has `autoscaler` decide how many workers run and `supervisor` run them.
//! Knows nothing of commands or of how an app is built.
mod autoscaler;
mod balancer;
mod gateway;
mod health;
mod launch;
mod log;
pub(crate) mod logs;
mod meter;
mod pool;
mod queue;
mod release;
mod supervisor;
mod webhook;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use flash_sdk::{catalogue::PriceList, manifest::Manifest};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use gateway::{ApiKey, nearest};
pub(crate) use launch::{Artifact, CommandWorker, Images};
pub(crate) use log::{LogLine, Origin, Sink};
pub(crate) use pool::Supervision;
pub(crate) use supervisor::{Limiting, Survey, lifeline_main, survey};

use launch::Launch;
use meter::Billing;
use pool::PoolContext;
use queue::{Backlog, Clock, QueueContext, Teller};
pub(crate) use queue::{Durability, OpenError};
use release::Release;
use supervisor::{Isolation, Lifeline};
use webhook::Courier;
pub(crate) use webhook::Secret;

/// For how long a new release may take until its workers are ready.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// How long the kernel may take to end what was killed.
const REAPING: Duration = Duration::from_millis(500);
/// How long engines may take to remove containers.
const REMOVING: Duration = Duration::from_secs(30);
/// Between two looks for results in replaced releases that were kept long enough.
const FORGET_PAST: Duration = Duration::from_secs(5);
/// Old releases whose results can still be asked for.
const KEPT_RELEASES: usize = 20;

/// What a platform needs to start.
pub(crate) struct Options {
    /// Open already, so that the caller decides about ports.
    pub listener: TcpListener,
    pub log: Sink,
    /// How long running work gets when a release or the platform ends.
    pub drain_time: Duration,
    /// Where jobs are stored. Those of an earlier platform go on.
    pub store: PathBuf,
    pub durability: Durability,
    /// Signs webhooks.
    pub webhook_secret: Secret,
    /// Opens the client API; without one, whoever reaches the port may ask.
    pub api_key: Option<ApiKey>,
    pub supervision: Supervision,
    pub limits: Limiting,
}

/// An app to bring to life.
pub(crate) struct NewRelease {
    pub manifest: Manifest,
    /// Worker types beside those of the manifest; no name is in both.
    pub commands: Vec<CommandWorker>,
    pub artifact: Artifact,
    pub directory: PathBuf,
    pub environment: Vec<(String, String)>,
    pub prices: PriceList,
}

/// Why the platform cannot start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("could not start the process that watches over workers")]
    Lifeline(#[source] std::io::Error),
    #[error("the listening socket is unusable")]
    Listener(#[source] std::io::Error),
    #[error("could not open the store of jobs")]
    Store(#[from] OpenError),
}

/// Why a release does not go live. The one before it, if any, keeps serving.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeployError {
    #[error("a worker of type `{worker_type}` does not become ready: {reason}")]
    NotReady { worker_type: String, reason: String },
}

/// A running platform. Cheap to share.
#[derive(Clone)]
pub(crate) struct Platform {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwapOption<Release>,
    /// Releases that drain or have ended, the latest first.
    past: Mutex<VecDeque<Arc<Release>>>,
    /// The release whose workers start beside the live one.
    starting: Mutex<Option<Arc<Release>>>,
    /// One deployment at a time.
    deploying: tokio::sync::Mutex<()>,
    next_release: AtomicU64,
    address: SocketAddr,
    context: PoolContext,
    /// Jobs of an earlier platform that no endpoint has claimed yet.
    backlog: Mutex<Backlog>,
    /// Whether any release ran images: their ends take longer.
    has_containers: AtomicBool,
    /// Opens the client API.
    api_key: Option<ApiKey>,
    /// The platform stops: no new work.
    closing: CancellationToken,
    /// All work has ended: no new connections.
    served: CancellationToken,
    /// The gateway's tasks.
    gateway: TaskTracker,
}

impl Platform {
    /// Starts the gateway. No app is live yet: requests get 503.
    pub(crate) fn start(options: Options) -> Result<Self, StartError> {
        let Options {
            listener,
            log,
            drain_time,
            limits,
            supervision,
            store,
            durability,
            webhook_secret,
            api_key,
        } = options;
        let address = listener.local_addr().map_err(StartError::Listener)?;
        let lifeline = Lifeline::start().map_err(StartError::Lifeline)?;
        let told = log.clone();
        let say = Arc::new(move |text| told(LogLine::system("platform", None, text)));
        let isolation = Isolation::start(limits, &lifeline, say);
        let (store, backlog) = Backlog::open(&store, durability)?;
        let (teller, tidings) = Teller::new();
        let closing = CancellationToken::new();
        let courier = Courier {
            secret: webhook_secret,
            store: store.clone(),
            log: log.clone(),
            closing: closing.clone(),
        };
        let queues = QueueContext { clock: Clock::system(), store, teller };
        let context = PoolContext {
            log,
            lifeline,
            isolation,
            drain_time,
            supervision,
            tasks: TaskTracker::new(),
            closing: closing.clone(),
            queues,
            billing: Billing::default(),
        };
        let platform = Self {
            shared: Arc::new(Shared {
                current: ArcSwapOption::empty(),
                past: Mutex::default(),
                starting: Mutex::default(),
                deploying: tokio::sync::Mutex::default(),
                next_release: AtomicU64::new(1),
                address,
                context,
                backlog: Mutex::new(backlog),
                has_containers: AtomicBool::new(false),
                api_key,
                closing,
                served: CancellationToken::new(),
                gateway: TaskTracker::new(),
            }),
        };
        platform.shared.gateway.spawn(gateway::serve(listener, platform.clone()));
        platform.shared.gateway.spawn(courier.run(tidings));
        platform.shared.gateway.spawn(platform.clone().forget_past());
        Ok(platform)
    }

    /// Deletes what was kept long enough in releases that were replaced: their own loops have ended.
    async fn forget_past(self) {
        let closing = self.shared.closing.clone();
        while closing.run_until_cancelled(tokio::time::sleep(FORGET_PAST)).await.is_some() {
            let past: Vec<_> =
                self.shared.past.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
            for queue in past.iter().flat_map(|release| release.pools()).filter_map(|pool| pool.queue()) {
                queue.end_overdue();
            }
            let mut backlog = self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner);
            backlog.delete_due(&self.shared.context.queues);
        }
    }

    /// Where it listens, as workers on this machine reach it.
    fn worker_url(&self) -> String {
        let address = self.shared.address;
        if address.ip().is_unspecified() {
            format!("http://127.0.0.1:{}", address.port())
        } else {
            format!("http://{address}")
        }
    }

    /// Whether it takes no new work any more.
    fn is_stopping(&self) -> bool {
        self.shared.closing.is_cancelled()
    }

    /// The live release.
    fn current(&self) -> Option<Arc<Release>> {
        self.shared.current.load_full()
    }

    /// The live release, then those before it, the latest first.
    fn releases(&self) -> Vec<Arc<Release>> {
        let past = self.shared.past.lock().unwrap_or_else(PoisonError::into_inner);
        self.current().into_iter().chain(past.iter().cloned()).collect()
    }

    /// As [`Platform::releases`], and the one that is on its way to go live.
    fn all_releases(&self) -> Vec<Arc<Release>> {
        let starting = self.shared.starting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.releases().into_iter().chain(starting).collect()
    }

    /// The pools of a worker type whose workers may knock.
    fn worker_pools(&self, worker_type: &str) -> Vec<Arc<pool::Pool>> {
        self.all_releases().iter().filter_map(|release| release.pool(worker_type).cloned()).collect()
    }

    /// Whether this is the key of any worker.
    fn is_key_of_a_worker(&self, key: &str) -> bool {
        self.all_releases().iter().any(|release| release.pools().any(|pool| pool.has_key(key)))
    }

    /// Brings an app to life beside the live one: its workers start, traffic moves when they are ready,
    /// the old ones drain.
    ///
    /// # Errors
    /// When its workers do not become ready. Nothing has changed then.
    pub(crate) async fn deploy(&self, new: NewRelease) -> Result<(), DeployError> {
        let _alone = self.shared.deploying.lock().await;
        let NewRelease { mut manifest, commands, artifact, directory, environment, prices } = new;
        manifest.workers.extend(commands.iter().map(|command| command.worker_type.clone()));
        let number = self.shared.next_release.fetch_add(1, Ordering::Relaxed);
        if matches!(artifact, Artifact::Images(_)) {
            self.shared.has_containers.store(true, Ordering::Relaxed);
        }
        let launch = Launch {
            artifact,
            directory,
            environment,
            endpoints: launch::endpoint_map(&manifest, &self.worker_url()),
            platform: self.worker_url(),
            commands: commands.into(),
            drain_seconds: self.shared.context.drain_time.as_secs(),
            ping_interval: self.shared.context.supervision.ping_interval(),
        };
        let release = Arc::new(Release::new(number, manifest, &launch, &self.shared.context, &prices));
        let old = self.current();
        self.set_starting(Some(release.clone()));
        if let Err(error) = self.ready(&release, old.as_deref()).await {
            self.set_starting(None);
            release.close();
            release.kill();
            return Err(error);
        }
        for pool in release.pools() {
            self.shared.context.tasks.spawn(pool.clone().run());
        }
        self.adopt_backlog(&release);
        self.go_live(release, old.as_ref());
        self.set_starting(None);
        if let Some(old) = old {
            self.retire(old);
        }
        Ok(())
    }

    /// Moves the traffic. Whoever looks for a worker or a job finds the old release in one place or the other.
    fn go_live(&self, release: Arc<Release>, old: Option<&Arc<Release>>) {
        let mut past = self.shared.past.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.current.store(Some(release));
        if let Some(old) = old {
            past.push_front(old.clone());
        }
    }

    /// Lets go of releases that have ended: at once where nothing is left in them, else the oldest.
    fn forget_ended(&self) {
        let mut past = self.shared.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.retain(|release| !release.is_over() || release.has_jobs());
        while past.len() > KEPT_RELEASES
            && let Some(oldest) = past.iter().rposition(|release| release.is_over())
        {
            past.remove(oldest);
        }
    }

    /// Gives a release the jobs that an earlier platform left to its endpoints.
    fn adopt_backlog(&self, release: &Release) {
        let mut backlog = self.shared.backlog.lock().unwrap_or_else(PoisonError::into_inner);
        backlog.delete_due(&self.shared.context.queues);
        for queue in release.pools().filter_map(|pool| pool.queue()) {
            queue.adopt(&mut backlog);
        }
        for (endpoint, open) in backlog.unclaimed().filter(|(_, open)| *open > 0) {
            let text = format!("{open} stored jobs wait for a worker type of this name, which the app lacks");
            (self.shared.context.log)(LogLine::system(endpoint, None, text));
        }
    }

    fn set_starting(&self, release: Option<Arc<Release>>) {
        *self.shared.starting.lock().unwrap_or_else(PoisonError::into_inner) = release;
    }

    /// Starts one worker of each type that has any now or must always have one, and waits for them.
    async fn ready(&self, release: &Release, old: Option<&Release>) -> Result<(), DeployError> {
        let has_workers =
            |name: &str| old.and_then(|old| old.pool(name)).is_some_and(|pool| !pool.phases().is_empty());
        let needed: Vec<_> = release
            .pools()
            .filter_map(|pool| {
                let warm = usize::from(has_workers(&pool.worker_type.name));
                let count = warm.max(pool.worker_type.workers_min as usize);
                (count > 0).then_some((pool, count))
            })
            .collect();
        for (pool, count) in &needed {
            for _ in 0..*count {
                pool.start();
            }
        }
        for (pool, count) in needed {
            let ready = tokio::time::timeout(READY_LIMIT, pool.wait_ready(count)).await;
            let ready = ready.unwrap_or_else(|_| Err(format!("nothing within {} s", READY_LIMIT.as_secs())));
            ready.map_err(|reason| DeployError::NotReady {
                worker_type: pool.worker_type.name.clone(),
                reason,
            })?;
        }
        Ok(())
    }

    /// Lets a replaced release finish what it accepted, then stops its workers.
    fn retire(&self, old: Arc<Release>) {
        let (platform, closing) = (self.clone(), self.shared.closing.clone());
        let limit = old.longest_run() + self.shared.context.drain_time;
        self.shared.context.tasks.spawn(async move {
            tokio::select! {
                () = old.idle() => {}
                () = tokio::time::sleep(limit) => {}
                () = closing.cancelled() => {}
            }
            old.close();
            if !closing.is_cancelled() {
                old.ended().await;
                platform.hand_over(&old);
                platform.forget_ended();
            }
        });
    }

    /// What still waits in a release that has ended goes on in the live one.
    fn hand_over(&self, old: &Release) {
        let Some(live) = self.current() else { return };
        for pool in old.pools() {
            let Some(queue) = pool.queue() else { continue };
            match live.pool(&pool.worker_type.name).and_then(|pool| pool.queue()) {
                Some(successor) => queue.hand_over(successor),
                None => queue.give_up_waiting(),
            }
        }
    }

    /// Ends everything: intake first, then workers. Running work gets the drain time. `true` when all of
    /// it ended by itself; workers without work do not count.
    pub(crate) async fn stop(&self) -> bool {
        let Shared { closing, served, gateway, context, has_containers, .. } = &*self.shared;
        let until = tokio::time::Instant::now() + context.drain_time;
        let reaping = if has_containers.load(Ordering::Relaxed) { REMOVING } else { REAPING };
        closing.cancel();
        gateway.close();
        context.tasks.close();
        let releases = self.all_releases();
        let idle = async {
            for release in &releases {
                release.idle().await;
            }
        };
        let clean = tokio::time::timeout_at(until, idle).await.is_ok();
        for release in &releases {
            release.close();
        }
        // Workers without work end at a signal; what is left when the time is over is killed and reaped.
        if tokio::time::timeout_at(until, context.tasks.wait()).await.is_err() {
            self.kill();
            let _ = tokio::time::timeout(reaping, context.tasks.wait()).await;
        }
        // Only now: a worker that polls opens connections to report its result.
        served.cancel();
        // Open connections of clients end with the process.
        let _ = tokio::time::timeout(REAPING, gateway.wait()).await;
        context.lifeline.end(reaping).await;
        context.queues.store.close();
        clean
    }

    /// Ends everything at once.
    pub(crate) fn kill(&self) {
        for release in self.all_releases() {
            release.close();
            release.kill();
        }
    }
}
