//! A platform: its start, its end, and what its parts share.
//!
//! How releases follow each other is in `lifecycle`, what others see of it in `inspect`.
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use flash_logs::{LogLine, Sink};
use parking_lot::Mutex;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    build_state::BuildState,
    counters::Posts,
    error::StartError,
    gateway::{self, Dashboard, GatewayState},
    history::History,
    listener::Listeners,
    machine::Machine,
    meter::{Billing, CostTotals},
    options::{Options, Retire},
    pool::PoolContext,
    queue::{Backlog, Budget, Due, QueueContext, SetAside, WebhookOutbox},
    releases::{Expected, Releases},
    schedule::Schedules,
    supervisor::{LimitScope, Pods},
    webhook::WebhookSender,
};

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

/// A running platform. Cheap to share.
#[derive(Clone)]
pub struct Platform {
    pub(super) shared: Arc<Shared>,
}

/// What the clones of a platform share.
pub(super) struct Shared {
    pub releases: Arc<Releases>,
    /// One deployment at a time.
    pub deploying: tokio::sync::Mutex<()>,
    pub next_release: AtomicU64,
    pub address: SocketAddr,
    pub context: PoolContext,
    pub schedules: Arc<Schedules>,
    pub build_state: Arc<BuildState>,
    /// Jobs of an earlier platform that no endpoint has claimed yet.
    pub backlog: Mutex<Backlog>,
    /// Whether any release ran images, which take longer to end.
    pub has_containers: AtomicBool,
    pub retire: Retire,
    /// Ends with this platform.
    own_machine: Option<Machine>,
    /// Stored jobs that cannot be read.
    pub set_aside: usize,
    /// The platform stops: no new work.
    pub closing: CancellationToken,
    /// All work has ended: no new connections.
    served: CancellationToken,
    /// The gateway's tasks.
    pub gateway: TaskTracker,
}

impl Platform {
    /// Starts the gateway. No app is live yet: requests get 503.
    pub fn start(options: Options) -> Result<Self, StartError> {
        let Options {
            listener,
            log,
            readable_log,
            dashboard,
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
            traces,
        } = options;
        let address = listener.local_addr().map_err(StartError::Listener)?;
        let (machine, own_machine) = shared_or_own(machine, limits, &log)?;
        let share = machine.share();
        let Machine { lifeline, isolation, .. } = machine;
        let (store, mut backlog, clock, set_aside, stored_schedules) = Backlog::open(&store, durability)?;
        log_set_aside(&set_aside, &log);
        let (outbox, ends) = WebhookOutbox::new();
        let (closing, served) = (CancellationToken::new(), CancellationToken::new());
        let posts: Arc<Posts> = Arc::default();
        let sender = WebhookSender {
            posts: posts.clone(),
            secret: webhook_secret,
            allowed_networks: webhook_networks,
            store: store.clone(),
            log: log.clone(),
            closing: closing.clone(),
        };
        let budget = Budget::default();
        backlog.join(&budget);
        let context = PoolContext {
            log,
            lifeline,
            isolation: isolation.of(limits, confinement),
            pods: Pods::default(),
            drain_time,
            supervision,
            tasks: TaskTracker::new(),
            closing: closing.clone(),
            queues: QueueContext { clock, store, outbox, budget, traces },
            billing: Billing::default(),
        };
        let releases: Arc<Releases> = Arc::default();
        let gateway = TaskTracker::new();
        gateway.spawn(sender.run(ends));
        let schedules = Schedules::new(
            releases.clone(),
            context.queues.store.clone(),
            context.log.clone(),
            stored_schedules,
        );
        gateway.spawn(schedules.clone().run(closing.clone()));
        let history: Arc<History> = Arc::default();
        gateway.spawn(history.clone().run(releases.clone(), closing.clone()));
        let build_state: Arc<BuildState> = Arc::default();
        let dashboard = Dashboard::new(dashboard, schedules.clone(), history, build_state.clone());
        let state = Arc::new(GatewayState::new(&context, releases, access, readable_log, dashboard, posts));
        gateway.spawn(gateway::serve(listener, share, state.clone(), served.clone()));
        let platform = Self {
            shared: Arc::new(Shared {
                releases: state.releases.clone(),
                deploying: tokio::sync::Mutex::default(),
                next_release: AtomicU64::new(1),
                address,
                context,
                schedules,
                build_state,
                backlog: Mutex::new(backlog),
                has_containers: AtomicBool::new(false),
                retire,
                own_machine,
                set_aside: set_aside.before + set_aside.now.len(),
                closing,
                served,
                gateway,
            }),
        };
        platform.shared.gateway.spawn(platform.clone().forget_past(state));
        Ok(platform)
    }

    /// Deletes expired data of replaced releases, whose own loops have ended.
    async fn forget_past(self, gateway: Arc<GatewayState>) {
        let closing = self.shared.closing.clone();
        let mut time_kept = Instant::now();
        while closing.run_until_cancelled(tokio::time::sleep(FORGET_PAST)).await.is_some() {
            gateway.log_refused();
            if time_kept.elapsed() >= KEEP_TIME {
                time_kept = Instant::now();
                self.shared.context.queues.keep_time();
            }
            let past = self.shared.releases.past();
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
    pub(super) fn worker_url(&self) -> String {
        let address = self.shared.address;
        if address.ip().is_unspecified() {
            format!("http://127.0.0.1:{}", address.port())
        } else {
            format!("http://{address}")
        }
    }

    /// Whether it no longer accepts new work.
    pub(super) fn is_stopping(&self) -> bool {
        self.shared.closing.is_cancelled()
    }

    /// Sets what will be live while nothing is. Requests get that answer meanwhile.
    pub fn expect(&self, expected: Expected) {
        self.shared.releases.expect(expected);
    }

    /// What everything has cost since it started.
    pub fn costs(&self) -> CostTotals {
        self.shared.context.billing.totals()
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
        let Shared { closing, served, gateway, context, has_containers, own_machine, releases, .. } =
            &*self.shared;
        let reaping = if has_containers.load(Ordering::Relaxed) { REMOVING } else { REAPING };
        closing.cancel();
        gateway.close();
        context.tasks.close();
        let releases = releases.open();
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
        if let Some(traces) = &context.queues.traces {
            traces.close().await;
        }
        clean
    }

    /// Ends everything at once.
    pub fn kill(&self) {
        for release in self.shared.releases.all() {
            release.close();
            release.kill();
        }
    }
}

/// The machine's resources; they are also the second value where the platform shares them with no other.
fn shared_or_own(
    shared: Option<Machine>,
    limits: LimitScope,
    log: &Sink,
) -> Result<(Machine, Option<Machine>), StartError> {
    if let Some(shared) = shared {
        return Ok((shared, None));
    }
    let log = log.clone();
    let say = move |text| log(LogLine::system("platform", None, text));
    let own = Machine::start(limits, Listeners::One, say)?;
    Ok((own.clone(), Some(own)))
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
