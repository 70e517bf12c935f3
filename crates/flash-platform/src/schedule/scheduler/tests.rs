//! With a real queue and a real store, at times that the tests choose. The platform beside it has nothing live, so its
//! own loop does nothing.
use std::path::Path;

use flash_protocol::{
    Missed, Overlap,
    catalogue::PriceList,
    manifest::{EndpointKind, Manifest},
    wire::job::JobStatus,
};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::{
    Access, AllowedNetworks, Artifact, Durability, KeyRing, LimitScope, Options, Platform, Retire, Secret,
    Supervision,
    launch::Launch,
    meter::Account,
    queue::{DeliveryMode, Filter, Outcome},
};

fn time(text: &str) -> Timestamp {
    format!("2026-11-{text}Z").parse().unwrap()
}

struct Bench {
    platform: Platform,
    releases: Arc<Releases>,
    schedules: Arc<Schedules>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Bench {
    async fn start(store: &Path) -> Self {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = lines.clone();
        let options = Options {
            machine: None,
            traces: None,
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            log: Arc::new(move |line| heard.lock().push(line.text)),
            readable_log: None,
            dashboard: crate::DashboardOptions {
                place: "test".to_owned(),
                log: None,
                cost_command: None,
                releases: None,
                daily_costs: None,
                hides_values: Arc::default(),
            },
            drain_time: std::time::Duration::ZERO,
            store: store.to_owned(),
            durability: Durability::Process,
            webhook_secret: Secret::random(),
            webhook_networks: AllowedNetworks::All,
            access: Access::Ring(Arc::new(KeyRing::new())),
            retire: Retire::WhenIdle,
            supervision: Supervision::default(),
            limits: LimitScope::None,
            confinement: None,
        };
        let platform = Platform::start(options).unwrap();
        let context = &platform.shared.context;
        let releases: Arc<Releases> = Arc::default();
        let schedules =
            Schedules::new(releases.clone(), context.queues.store.clone(), context.log.clone(), Vec::new());
        // What the store had.
        schedules.state.lock().kept = platform.shared.schedules.state.lock().kept.clone();
        Self { platform, releases, schedules, lines }
    }

    /// Makes a release live that has `report`, every hour at first.
    fn deploy(&self, number: u64, schedule: Schedule) {
        let manifest = manifest(schedule);
        let launch = Launch {
            release: 1,
            artifact: Artifact::Binaries(Arc::default()),
            programs: None,
            directory: "/".into(),
            environment: Vec::new(),
            endpoints: String::new(),
            pods: crate::supervisor::Pods::default(),
            platform: String::new(),
            commands: Vec::new().into(),
            models: Default::default(),
            drain_seconds: 0,
            ping_interval: std::time::Duration::from_secs(1),
        };
        let context = &self.platform.shared.context;
        let release = Arc::new(Release::new(number, manifest, &launch, context, &PriceList::default()));
        let mut backlog = self.platform.shared.backlog.lock();
        self.releases.go_live(Some(release));
        self.queue().adopt(&mut backlog, crate::queue::Claim::All);
    }

    fn queue(&self) -> Arc<Queue> {
        self.releases.live().unwrap().pool("night").unwrap().queue().unwrap().clone()
    }

    /// How many jobs were ever submitted.
    async fn jobs(&self) -> usize {
        let page = self.queue().stored_page(&Filter::default(), None, 100).await.unwrap();
        page.jobs.len()
    }

    /// A worker does the job that waits.
    async fn work(&self) {
        let (queue, worker) = (self.queue(), "w".into());
        queue.attach(&worker, DeliveryMode::Polling, 1, Account::free());
        let limit = std::time::Duration::from_secs(30);
        let job = queue.take(&worker, 1, limit).await.pop().expect("a job waits").id;
        queue.finish(&worker, job, None, Outcome::Completed(no_arguments().into()), None);
        queue.detach_stopped(&worker, "done");
    }

    fn overview(&self, now: &str) -> ScheduleOverview {
        self.schedules.overview(time(now)).pop().unwrap()
    }

    fn said(&self, part: &str) -> bool {
        self.lines.lock().iter().any(|line| line.contains(part))
    }
}

fn hourly() -> Schedule {
    Schedule {
        cron: "0 * * * *".into(),
        timezone: "UTC".into(),
        missed: Missed::Skip,
        overlap: Overlap::Skip,
    }
}

/// As JSON, which leaves out what does not matter here.
fn manifest(schedule: Schedule) -> Manifest {
    let worker = serde_json::json!({
        "name": "night", "kind": "queue", "compute": { "type": "cpu", "instances": [] },
        "workers_min": 0, "workers_max": 0, "idle_timeout_seconds": 5, "execution_timeout_seconds": 600,
        "max_concurrency": 1, "scaler": EndpointKind::Queue.default_scaler(),
    });
    let function = serde_json::json!({
        "name": "report", "owner": "Office", "module": "main", "worker": "night", "file": "src/main.rs",
        "line": 1, "arguments": [], "output": true, "settings": { "schedule": schedule },
    });
    let manifest = serde_json::json!({
        "version": 1, "app": { "name": "app", "version": "0" }, "sdk_version": "", "workers": [worker],
        "functions": [function], "definitions": {},
    });
    serde_json::from_value(manifest).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_becomes_one_job_whose_end_is_noted() {
    let store = TempDir::new().unwrap();
    let bench = Bench::start(store.path()).await;
    bench.deploy(1, hourly());
    assert_eq!(bench.schedules.tick(time("29T03:59:59.5")), time("29T04:00:00"));
    assert!(bench.said("schedule of Office::report: next at 2026-11-29 04:00 UTC"));
    bench.schedules.tick(time("29T04:00:00"));
    bench.schedules.tick(time("29T04:00:01"));
    assert_eq!(bench.jobs().await, 1);
    let overview = bench.overview("29T04:00:01");
    assert_eq!(overview.next_ms, Some(time("29T05:00:00").as_millisecond()));
    let last = overview.last.unwrap();
    assert_eq!(last.scheduled_ms, Some(time("29T04:00:00").as_millisecond()));
    assert!(last.is_running);
    bench.work().await;
    let last = bench.overview("29T04:00:02").last.unwrap();
    assert_eq!((last.is_running, last.ended), (false, Some(JobStatus::Completed)));
    bench.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_died_before_it_recorded_a_time_does_not_run_it_again() {
    let store = TempDir::new().unwrap();
    let bench = Bench::start(store.path()).await;
    let all = Schedule { missed: Missed::All, ..hourly() };
    bench.deploy(1, all.clone());
    bench.schedules.tick(time("29T03:30:00"));
    let before = bench.schedules.state.lock().kept.clone();
    bench.schedules.tick(time("29T04:00:00"));
    assert_eq!(bench.jobs().await, 1);
    // The job is stored; the record that its time is dealt with is lost.
    for (function, kept) in &before {
        bench.schedules.keep(function, kept);
    }
    bench.platform.stop().await;

    let bench = Bench::start(store.path()).await;
    bench.deploy(1, all);
    bench.schedules.tick(time("29T04:10:00"));
    assert_eq!(bench.jobs().await, 1, "its key finds the job");
    assert!(bench.overview("29T04:10:00").last.unwrap().is_running);
    bench.work().await;
    bench.schedules.tick(time("29T04:11:00"));
    assert_eq!(bench.jobs().await, 1);
    bench.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missed_times_are_made_up_for_one_by_one_after_a_restart() {
    let store = TempDir::new().unwrap();
    let all = Schedule { missed: Missed::All, ..hourly() };
    let bench = Bench::start(store.path()).await;
    bench.deploy(1, all.clone());
    bench.schedules.tick(time("29T03:30:00"));
    bench.platform.stop().await;

    let bench = Bench::start(store.path()).await;
    bench.deploy(1, all);
    for done in 1..=3 {
        bench.schedules.tick(time("29T06:30:00"));
        bench.schedules.tick(time("29T06:30:01"));
        assert_eq!(bench.jobs().await, done, "none starts beside another");
        bench.work().await;
    }
    bench.schedules.tick(time("29T06:30:02"));
    assert_eq!(bench.jobs().await, 3);
    bench.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_left_out_while_the_one_before_is_running_and_the_log_says_so() {
    let store = TempDir::new().unwrap();
    let bench = Bench::start(store.path()).await;
    bench.deploy(1, hourly());
    for now in ["29T03:30:00", "29T04:00:00", "29T05:00:00"] {
        bench.schedules.tick(time(now));
    }
    assert_eq!(bench.jobs().await, 1);
    assert!(bench.said("left out a run: the one before (job "));
    bench.work().await;
    bench.schedules.tick(time("29T06:00:00"));
    assert_eq!(bench.jobs().await, 2);
    bench.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlives_restarts_and_its_times_are_gone() {
    let store = TempDir::new().unwrap();
    let all = Schedule { missed: Missed::All, ..hourly() };
    let bench = Bench::start(store.path()).await;
    bench.deploy(1, all.clone());
    bench.schedules.set_paused("report", true, time("29T03:30:00")).unwrap();
    bench.platform.stop().await;

    let bench = Bench::start(store.path()).await;
    bench.deploy(1, all);
    bench.schedules.tick(time("29T05:00:00"));
    let overview = bench.overview("29T05:00:00");
    assert_eq!((overview.is_paused, overview.next_ms), (true, None));
    let job = bench.schedules.run_now("Office::report", time("29T05:10:00")).await.unwrap();
    let last = bench.overview("29T05:10:00").last.unwrap();
    assert_eq!((last.job, last.scheduled_ms), (job, None));
    bench.work().await;
    bench.schedules.set_paused("report", false, time("29T05:30:00")).unwrap();
    bench.schedules.tick(time("29T05:59:59"));
    assert_eq!(bench.jobs().await, 1, "only the one that was asked for");
    bench.schedules.tick(time("29T06:00:00"));
    assert_eq!(bench.jobs().await, 2);
    let unknown = bench.schedules.set_paused("reports", true, time("29T06:00:00")).unwrap_err();
    assert!(matches!(unknown, ScheduleError::Unknown { known, .. } if known == ["Office::report"]));
    bench.platform.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_changes_a_schedule_starts_it_anew_when_it_goes_live() {
    let store = TempDir::new().unwrap();
    let bench = Bench::start(store.path()).await;
    let all = Schedule { missed: Missed::All, ..hourly() };
    bench.deploy(1, all.clone());
    bench.schedules.tick(time("29T03:30:00"));
    bench.deploy(2, Schedule { cron: "15 * * * *".into(), ..all });
    bench.schedules.tick(time("29T06:30:00"));
    bench.schedules.tick(time("29T07:00:00"));
    assert_eq!(bench.jobs().await, 0, "the old schedule is no more, and the new one begins now");
    bench.schedules.tick(time("29T07:15:00"));
    assert_eq!(bench.jobs().await, 1);
    bench.platform.stop().await;
}
