//! The platform: a local implementation of what the provider runs in its cloud.
//!
//! It manages releases; `lifecycle` contains their life cycle. Requests enter through `gateway`, and jobs wait in
//! `queue`. `pool` uses `autoscaler` to decide how many workers run, and `supervisor` to run them. `meter` counts what
//! they cost, [`logs`] stores what they print, and `webhook` sends the ends of jobs.
//!
//! One [`Platform`] serves one app at one port. Its callers, `flash run` and `flash-target-local`, decide what it runs
//! and which keys are valid, and keep the history of releases. It does not know about commands or how an app is built.
mod autoscaler;
mod balancer;
pub mod formats;
mod gateway;
mod health;
mod interface;
mod launch;
mod lifecycle;
mod listener;
mod log;
pub mod logs;
mod machine;
mod meter;
mod overview;
mod pool;
mod queue;
mod release;
pub mod sample;
mod supervisor;
mod tally;
#[cfg(test)]
mod tests;
mod webhook;

use std::{
    collections::VecDeque,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use flash_protocol::{catalogue::PriceList, manifest::Manifest};
use parking_lot::{Mutex, MutexGuard};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use gateway::{Access, AllowedHosts, ApiKey, KeyHash, KeyRing};
pub use launch::{Artifact, CommandWorker, Images};
pub use listener::{ConnectionShare, Listeners, Received, serve as serve_connections};
pub use log::{LogLine, Sink};
pub use machine::Machine;
pub use meter::{CostTotals, FunctionTotal, TypeTotal};
pub use overview::TypeOverview;
pub use pool::{Counts, Supervision};
pub use supervisor::{
    Confinement, LimitScope, MachineCapabilities, detect_capabilities, is_lifeline, lifeline_main,
};
pub use tally::Problem;

use gateway::AccessControl;
use meter::Billing;
use pool::PoolContext;
use queue::{Backlog, Budget, Due, QueueContext, SetAside, WebhookOutbox};
pub use queue::{Durability, OpenError};
use release::Release;
use supervisor::last_output;
use webhook::WebhookSender;
pub use webhook::{AllowedNetworks, Secret};

/// How long killed processes may take to end.
const REAPING: Duration = Duration::from_millis(500);
/// How long engines may take to remove containers.
const REMOVING: Duration = Duration::from_secs(30);
/// The interval of checks for expired results in replaced releases.
const FORGET_PAST: Duration = Duration::from_secs(5);
/// How often the current time is stored, for the next platform.
const KEEP_TIME: Duration = Duration::from_secs(60);
/// Maximum number of damaged jobs that are logged, each with its problem.
const DAMAGES_NAMED: usize = 5;

/// What a platform needs to start.
pub struct Options {
    /// Already open, so that the caller chooses the port.
    pub listener: TcpListener,
    /// Gets all lines of workers and of the platform.
    pub log: Sink,
    /// How long running work may take when a release or the platform ends.
    pub drain_time: Duration,
    /// The job store. Jobs of an earlier platform continue.
    pub store: PathBuf,
    /// What an accepted job survives.
    pub durability: Durability,
    /// Signs webhooks.
    pub webhook_secret: Secret,
    /// Where webhooks may go.
    pub webhook_networks: AllowedNetworks,
    /// Who may send requests.
    pub access: Access,
    /// When a replaced release ends.
    pub retire: Retire,
    /// Limits for workers that do not respond.
    pub supervision: Supervision,
    /// Which workers are limited to their instance's resources.
    pub limits: LimitScope,
    /// Directories that workers must not access, if the kernel supports it.
    pub confinement: Option<Confinement>,
    /// Resources shared with other platforms of this process; if `None`, it creates its own.
    pub machine: Option<Machine>,
}

/// How long a replaced release continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retire {
    /// Until its longest run and the drain time are over. Jobs that still wait then move to the live release.
    AfterLongestRun,
    /// Until all accepted work is done: a job runs on the release that accepted it.
    WhenIdle,
}

/// A release to start.
pub struct NewRelease {
    /// The release number; if `None`, the platform counts.
    pub number: Option<u64>,
    /// What the app says about itself: its worker types and functions.
    pub manifest: Manifest,
    /// Worker types in addition to those of the manifest, with different names.
    pub commands: Vec<CommandWorker>,
    /// What the app's workers run.
    pub artifact: Artifact,
    /// The working directory of workers that are processes.
    pub directory: PathBuf,
    /// Variables for all workers, secrets included; of several with the same name, the last one counts.
    pub environment: Vec<(String, String)>,
    /// What hardware costs per second.
    pub prices: PriceList,
}

/// Why the platform cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum StartError {
    #[error("could not start the process that supervises workers")]
    Lifeline(#[source] std::io::Error),
    #[error("the listening socket cannot be used")]
    Listener(#[source] std::io::Error),
    #[error("could not open the job store")]
    Store(#[from] OpenError),
}

/// Why a release does not go live. The one before it, if any, keeps serving.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the message of each variant says what it is")]
pub enum DeployError {
    #[error("a worker of type `{worker_type}` did not become ready: {reason}{}", last_output(last_lines))]
    NotReady {
        worker_type: String,
        reason: String,
        /// Of the stderr of the worker that died, oldest first.
        last_lines: Vec<String>,
    },
}

/// A running platform. Cheap to share.
#[derive(Clone)]
pub struct Platform {
    shared: Arc<Shared>,
}

struct Shared {
    current: ArcSwapOption<Release>,
    /// Releases that drain or have ended, the latest first.
    past: Mutex<VecDeque<Arc<Release>>>,
    /// The release whose workers are starting next to the live one.
    starting: Mutex<Option<Arc<Release>>>,
    /// Those that did not go live, until their workers have ended.
    torn_down: Mutex<Vec<Arc<Release>>>,
    /// One deployment at a time.
    deploying: tokio::sync::Mutex<()>,
    next_release: AtomicU64,
    address: SocketAddr,
    context: PoolContext,
    /// Jobs of an earlier platform that no endpoint has claimed yet.
    backlog: Mutex<Backlog>,
    /// Whether any release ran images, which take longer to end.
    has_containers: AtomicBool,
    access_control: AccessControl,
    retire: Retire,
    /// Ends with this platform.
    own_machine: Option<Machine>,
    /// Stored jobs that cannot be read.
    set_aside: usize,
    /// A release is expected, because one was live before the platform started.
    is_expecting: AtomicBool,
    /// The platform stops: no new work.
    closing: CancellationToken,
    /// All work has ended: no new connections.
    served: CancellationToken,
    /// The gateway's tasks.
    gateway: TaskTracker,
}

impl Platform {
    /// Starts the gateway. No app is live yet: requests get 503.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let Options {
            listener,
            log,
            drain_time,
            limits,
            confinement,
            supervision,
            store,
            durability,
            webhook_secret,
            webhook_networks,
            access,
            retire,
            machine,
        } = options;
        let address = listener.local_addr().map_err(StartError::Listener)?;
        let logged = log.clone();
        let say = move |text| logged(LogLine::system("platform", None, text));
        let (machine, own_machine) = match machine {
            Some(shared) => (shared, None),
            None => {
                let own = Machine::start(limits, Listeners::One, say)?;
                (own.clone(), Some(own))
            }
        };
        let share = machine.share();
        let Machine { lifeline, isolation, .. } = machine;
        let isolation = isolation.of(limits, confinement);
        let (store, mut backlog, clock, set_aside) = Backlog::open(&store, durability)?;
        log_set_aside(&set_aside, &log);
        let (outbox, ends) = WebhookOutbox::new();
        let closing = CancellationToken::new();
        let sender = WebhookSender {
            secret: webhook_secret,
            allowed_networks: webhook_networks,
            store: store.clone(),
            log: log.clone(),
            closing: closing.clone(),
        };
        let access_control = AccessControl::new(access, log.clone());
        let budget = Budget::default();
        backlog.join(&budget);
        let queues = QueueContext { clock, store, outbox, budget };
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
                torn_down: Mutex::default(),
                deploying: tokio::sync::Mutex::default(),
                next_release: AtomicU64::new(1),
                address,
                context,
                backlog: Mutex::new(backlog),
                has_containers: AtomicBool::new(false),
                access_control,
                retire,
                own_machine,
                is_expecting: AtomicBool::new(false),
                set_aside: set_aside.before + set_aside.now.len(),
                closing,
                served: CancellationToken::new(),
                gateway: TaskTracker::new(),
            }),
        };
        platform.shared.gateway.spawn(gateway::serve(listener, share, platform.clone()));
        platform.shared.gateway.spawn(sender.run(ends));
        platform.shared.gateway.spawn(platform.clone().forget_past());
        Ok(platform)
    }

    /// Deletes expired data of replaced releases, whose own loops have ended.
    async fn forget_past(self) {
        let closing = self.shared.closing.clone();
        let mut time_kept = Instant::now();
        while closing.run_until_cancelled(tokio::time::sleep(FORGET_PAST)).await.is_some() {
            self.shared.access_control.log_rest();
            if time_kept.elapsed() >= KEEP_TIME {
                time_kept = Instant::now();
                self.shared.context.queues.keep_time();
            }
            let past: Vec<_> = self.shared.past.lock().iter().cloned().collect();
            for queue in past.iter().flat_map(|release| release.pools()).filter_map(|pool| pool.queue()) {
                while queue.end_overdue() == Due::More {
                    tokio::task::yield_now().await;
                }
            }
            let mut backlog = self.shared.backlog.lock();
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

    /// Whether it no longer accepts new work.
    fn is_stopping(&self) -> bool {
        self.shared.closing.is_cancelled()
    }

    /// Whether a release is starting.
    fn is_deploying(&self) -> bool {
        self.shared.starting.lock().is_some()
    }

    /// Whether a release that was live before is being restored. Requests get that answer meanwhile.
    pub fn expect(&self, release: bool) {
        self.shared.is_expecting.store(release, Ordering::Relaxed);
    }

    /// What everything has cost since it started.
    pub fn costs(&self) -> CostTotals {
        self.shared.context.billing.totals()
    }

    /// The live release.
    fn current(&self) -> Option<Arc<Release>> {
        self.shared.current.load_full()
    }

    /// The live release, then those before it, the latest first.
    fn releases(&self) -> Vec<Arc<Release>> {
        let past = self.shared.past.lock();
        self.current().into_iter().chain(past.iter().cloned()).collect()
    }

    fn torn_down(&self) -> MutexGuard<'_, Vec<Arc<Release>>> {
        self.shared.torn_down.lock()
    }

    /// Like [`Platform::releases`], plus the release that is starting.
    fn open_releases(&self) -> Vec<Arc<Release>> {
        let starting = self.shared.starting.lock().clone();
        self.releases().into_iter().chain(starting).collect()
    }

    /// Like [`Platform::open_releases`], plus those that are ending: all that may still have workers.
    fn all_releases(&self) -> Vec<Arc<Release>> {
        let torn_down = self.torn_down().clone();
        self.open_releases().into_iter().chain(torn_down).collect()
    }

    /// The pools of a worker type whose workers may send requests.
    fn worker_pools(&self, worker_type: &str) -> Vec<Arc<pool::Pool>> {
        self.all_releases().iter().filter_map(|release| release.pool(worker_type).cloned()).collect()
    }

    /// Whether this is the key of any worker.
    fn is_key_of_a_worker(&self, key: &str) -> bool {
        self.all_releases().iter().any(|release| release.pools().any(|pool| pool.has_key(key)))
    }

    /// Ends everything: intake first, then workers. Running work gets the drain time. `true` when all of
    /// it ended by itself; workers without work do not count.
    pub async fn stop(&self) -> bool {
        self.end(tokio::time::Instant::now() + self.shared.context.drain_time).await
    }

    /// Ends everything without time for anything, and waits until it has ended.
    pub async fn end_now(&self) {
        self.kill();
        self.end(tokio::time::Instant::now()).await;
    }

    async fn end(&self, until: tokio::time::Instant) -> bool {
        let Shared { closing, served, gateway, context, has_containers, own_machine, .. } = &*self.shared;
        let reaping = if has_containers.load(Ordering::Relaxed) { REMOVING } else { REAPING };
        closing.cancel();
        gateway.close();
        context.tasks.close();
        let releases = self.open_releases();
        let idle = async {
            for release in &releases {
                release.idle().await;
            }
        };
        let clean = tokio::time::timeout_at(until, idle).await.is_ok();
        for release in &releases {
            release.close();
        }
        // Workers without work end at a signal. Those left at the end of the drain time are killed and reaped.
        if tokio::time::timeout_at(until, context.tasks.wait()).await.is_err() {
            self.kill();
            let _ = tokio::time::timeout(reaping, context.tasks.wait()).await;
        }
        // Only now: a worker that polls opens connections to report its result.
        served.cancel();
        // Open connections of clients end with the process.
        let _ = tokio::time::timeout(REAPING, gateway.wait()).await;
        if let Some(machine) = own_machine {
            machine.end(reaping).await;
        }
        context.queues.close();
        clean
    }

    /// Ends everything at once.
    pub fn kill(&self) {
        for release in self.all_releases() {
            release.close();
            release.kill();
        }
    }
}

/// Logs the jobs that could not be read.
fn log_set_aside(set_aside: &SetAside, log: &Sink) {
    let say = |text| log(LogLine::system("platform", None, text));
    for (place, problem) in set_aside.now.iter().take(DAMAGES_NAMED) {
        say(format!(
            "stored job {place} is damaged and will not run: {problem}; it is kept in the table `damaged` of \
             jobs.sqlite"
        ));
    }
    if let Some(more) = set_aside.now.len().checked_sub(DAMAGES_NAMED + 1) {
        say(format!("{} more stored jobs are damaged", more + 1));
    }
}

#[cfg(test)]
flash_test_support::fuzz_tests!(
    "affinity",
    "cgroup_layout",
    "host_and_origin",
    "job_id",
    "log_record",
    "route_table",
    "schema_sample"
);
