//! Tests releases as a service uses them: in parallel, across restarts, with keys. Workers are consumers of the queues,
//! except where their start is tested.
use std::{
    future::Future,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use flash_protocol::{
    CommandWorker, GpuPool, Program,
    catalogue::PriceList,
    manifest::{App, ComputeEntry, EndpointKind, Manifest, WorkerType},
    wire::envelope::Envelope,
};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{
    meter::Account,
    platform::Shared,
    queue::{DeliveryMode, JobId, Origin as JobOrigin, Outcome, Queue, Submission},
    *,
};

const LIMIT: Duration = Duration::from_secs(30);

/// A platform, the keys of its environment, and its log lines.
struct Bench {
    platform: Platform,
    ring: Arc<KeyRing>,
    lines: Arc<Mutex<Vec<String>>>,
}

async fn start(store: &Path) -> Bench {
    let ring = Arc::new(KeyRing::new());
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = lines.clone();
    let options = Options {
        machine: None,
        traces: None,
        listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        log: Arc::new(move |line| heard.lock().push(line.text)),
        readable_log: None,
        dashboard: DashboardOptions {
            place: "test".to_owned(),
            log: None,
            cost_command: None,
            releases: None,
            daily_costs: None,
            hides_values: Arc::default(),
        },
        drain_time: Duration::ZERO,
        store: store.to_owned(),
        durability: Durability::Process,
        webhook_secret: Secret::random(),
        webhook_networks: AllowedNetworks::All,
        access: Access::Ring(ring.clone()),
        retire: Retire::WhenIdle,
        supervision: Supervision::default(),
        limits: LimitScope::None,
        confinement: None,
    };
    Bench { platform: Platform::start(options).unwrap(), ring, lines }
}

/// A release with one queue-based worker type, `gpu`, that may have no workers.
fn release(number: u64) -> NewRelease {
    NewRelease {
        number: Some(number),
        manifest: Manifest {
            version: 1,
            app: App { name: "app".into(), version: "0".into() },
            sdk_version: String::new(),
            workers: vec![worker_type("gpu", 0)],
            functions: Vec::new(),
            definitions: serde_json::Map::new(),
        },
        commands: Vec::new(),
        artifact: Artifact::Binaries(Arc::default()),
        programs: None,
        directory: "/".into(),
        environment: Vec::new(),
        prices: PriceList::default(),
        models: Default::default(),
    }
}

fn worker_type(name: &str, workers_max: u32) -> WorkerType {
    WorkerType {
        name: name.into(),
        kind: EndpointKind::Queue,
        compute: ComputeEntry::Cpu { instances: Vec::new() },
        workers_min: 0,
        workers_max,
        idle_timeout_seconds: 5,
        execution_timeout_seconds: 600,
        max_concurrency: 1,
        scaler: EndpointKind::Queue.default_scaler(),
        buffer: 0,
        lifetime: Default::default(),
        data_centers: Vec::new(),
        disk_gib: None,
        shm_mib: None,
        vram_gib: None,
        http: None,
        max_body_mib: None,
        request_timeout_seconds: None,
        model: None,
        start_timeout_seconds: None,
    }
}

/// As `release`, with a worker that is this shell script.
fn of_script(number: u64, script: &str) -> NewRelease {
    let command = CommandWorker {
        worker_type: worker_type("script", 1),
        program: Program::command("sh", ["-c", script]),
        environment: Vec::new(),
        health_path: "/ping".into(),
    };
    NewRelease { commands: vec![command], ..release(number) }
}

fn json(text: &str) -> flash_protocol::wire::RawJson {
    serde_json::value::RawValue::from_string(text.to_owned()).unwrap()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Bench {
    async fn deploy(&self, number: u64) {
        self.platform.deploy(release(number), |_| ()).await.unwrap();
    }

    fn queue(&self, number: u64) -> Arc<Queue> {
        let releases = self.platform.shared.releases.live_and_past();
        let own = releases.iter().find(|release| release.number == number);
        own.expect("the release is known").pool("gpu").unwrap().queue().unwrap().clone()
    }

    /// Sends a job as a client does.
    async fn accepted(&self, number: u64) -> JobId {
        let submission = Submission::new(JobOrigin::Run, json("1"), Envelope::default());
        let queue = self.queue(number);
        let submitted = queue.submit(submission).unwrap();
        queue.stored(&submitted).await.unwrap();
        submitted.id
    }

    /// A worker of that release does its next job.
    async fn work(&self, number: u64) -> JobId {
        let (queue, worker) = (self.queue(number), "w".into());
        queue.attach(&worker, DeliveryMode::Polling, 1, Account::free());
        let job = queue.take(&worker, 1, LIMIT).await.pop().expect("a job waits").id;
        queue.finish(&worker, job, None, Outcome::Completed(json("1").into()), None);
        queue.detach_stopped(&worker, "done");
        job
    }

    fn draining(&self) -> Vec<u64> {
        self.platform.overview().draining
    }

    async fn get(&self, path: &str, key: Option<&str>) -> (u16, String) {
        // Of another test in this process, or this one.
        let client = flash_http::client().build().unwrap();
        let request = client.get(format!("{}{path}", self.platform.worker_url()));
        let request = match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        };
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_release_goes_on_until_its_own_jobs_are_done_and_its_results_stay() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    bench.deploy(4).await;
    let job = bench.accepted(4).await;
    bench.deploy(7).await;
    let overview = bench.platform.overview();
    assert_eq!((overview.live, overview.draining), (Some(7), vec![4]));
    assert!(bench.queue(7).is_idle(), "nothing is handed over");
    assert_eq!(bench.work(4).await, job);
    until("the old release ends", || bench.draining().is_empty()).await;
    until("the result is the live one's", || bench.queue(7).knows(job)).await;
    assert_eq!(bench.platform.overview().workers[0].completed, 1, "of all releases");
    within("stop", bench.platform.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_when_the_platform_stops_goes_on_in_its_release_when_that_is_resumed() {
    let store = TempDir::new().unwrap();
    let first = start(store.path()).await;
    first.deploy(1).await;
    let old = first.accepted(1).await;
    first.deploy(2).await;
    let new = first.accepted(2).await;
    within("stop", first.platform.stop()).await;

    let bench = start(store.path()).await;
    assert_eq!(bench.platform.stored_releases(), [1, 2]);
    bench.platform.resume(release(1)).await;
    bench.deploy(2).await;
    bench.platform.adopt_rest();
    assert!(bench.platform.stored_releases().is_empty());
    assert_eq!((bench.work(1).await, bench.work(2).await), (old, new));
    until("the resumed release ends", || bench.draining().is_empty()).await;
    assert_eq!(bench.platform.overview().live, Some(2));
    within("stop", bench.platform.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_release_that_cannot_be_resumed_go_to_the_live_one_at_the_end() {
    let store = TempDir::new().unwrap();
    let first = start(store.path()).await;
    first.deploy(1).await;
    let job = first.accepted(1).await;
    within("stop", first.platform.stop()).await;

    let bench = start(store.path()).await;
    bench.deploy(2).await;
    assert!(bench.queue(2).is_idle() && bench.platform.stored_releases() == [1]);
    bench.platform.adopt_rest();
    assert_eq!(bench.work(2).await, job);
    within("stop", bench.platform.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_of_the_platform_are_there_also_while_nothing_is_live() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    bench.ring.set(vec![KeyHash::of("key")], Vec::new());
    assert_eq!(bench.get("/metrics", Some("key")).await.0, 503);
    let (status, text) = bench.get("/_flash/metrics", Some("key")).await;
    assert!(status == 200 && text.contains("flash_job_memory_limit_bytes"), "{text}");
    assert!(!text.contains("flash_live_release ") && !text.contains("flash_workers{"), "{text}");
    bench.deploy(1).await;
    for path in ["/metrics", "/_flash/metrics"] {
        let (status, text) = bench.get(path, Some("key")).await;
        assert!(status == 200 && text.contains("\nflash_live_release 1\n"), "{path}: {text}");
        assert!(text.contains("flash_workers{worker_type=\"gpu\""), "{path}: {text}");
    }
    // Costs are those of all worker types that ever were.
    bench.platform.undeploy().await;
    let (_, text) = bench.get("/_flash/metrics", Some("key")).await;
    assert!(text.contains("flash_worker_starts_total{worker_type=\"gpu\"}"), "{text}");
    assert!(!text.contains("flash_live_release "), "{text}");
    within("stop", bench.platform.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_undeploy_nothing_is_deployed_and_accepted_jobs_are_done_and_found() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    bench.ring.set(vec![KeyHash::of("key")], Vec::new());
    let (status, body) = bench.get("/openapi.json", Some("key")).await;
    assert!(status == 503 && body.contains("nothing is deployed in this environment"), "{body}");
    bench.deploy(1).await;
    assert_eq!(bench.get("/openapi.json", Some("key")).await.0, 200);
    let job = bench.accepted(1).await;
    bench.platform.undeploy().await;
    let (status, body) = bench.get("/openapi.json", Some("key")).await;
    assert!(status == 503 && body.contains("nothing is deployed in this environment"), "{body}");
    bench.work(1).await;
    until("the release ends", || bench.draining().is_empty()).await;
    let (status, body) = bench.get(&format!("/v2/gpu/status/{job}"), Some("key")).await;
    assert!(status == 200 && body.contains("COMPLETED"), "{body}");
    within("stop", bench.platform.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_worker_waits_for_gpu_memory_goes_live_and_the_worker_starts_later() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    let isolation = bench.platform.shared.context.isolation.clone();
    isolation.has_gpus(vec![Gpu::of_test("GPU-a", Some(24_576))]);
    let mut new = of_script(2, "echo began on $CUDA_VISIBLE_DEVICES; exec sleep 600");
    let own = &mut new.commands[0].worker_type;
    own.compute = ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 1 };
    own.vram_gib = Some(16);
    // What it replaces.
    let old = isolation.gpus_for(own, None, |reason| panic!("{reason}")).await.unwrap();
    within("the release goes live", bench.platform.deploy(new, |_| ())).await.unwrap();
    let reason = "waits for a GPU: needs 16 GiB (`vram_gib`) of GPU memory: NVIDIA L4 (GPU-a) has 8.0 GiB of 24.0 GiB free, 1 worker has \
                  16.0 GiB";
    let overview = bench.platform.overview_with_gpus().await;
    let waits: Vec<_> = overview.workers.iter().filter_map(|own| own.waits_for.as_deref()).collect();
    assert_eq!((waits, overview.live), (vec![reason], Some(2)));
    assert!(bench.lines.lock().iter().any(|line| line == reason));
    assert!(!bench.lines.lock().iter().any(|line| line.starts_with("began")));
    drop(old);
    until("the worker starts", || bench.lines.lock().iter().any(|line| line == "began on GPU-a")).await;
    let gpu = &bench.platform.overview_with_gpus().await.gpus[0];
    assert_eq!((gpu.given_mib, gpu.workers), (16_384, 1));
    within("stop", bench.platform.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_waits_for_gpu_memory_ends_with_its_platform() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    let isolation = bench.platform.shared.context.isolation.clone();
    isolation.has_gpus(vec![Gpu::of_test("GPU-a", Some(24_576))]);
    let mut new = of_script(2, "echo began; exec sleep 600");
    let own = &mut new.commands[0].worker_type;
    own.compute = ComputeEntry::Gpu { pools: vec![GpuPool::Ada24], types: Vec::new(), count: 1 };
    own.vram_gib = Some(16);
    let _taken = isolation.gpus_for(own, None, |reason| panic!("{reason}")).await.unwrap();
    within("the release goes live", bench.platform.deploy(new, |_| ())).await.unwrap();
    within("stop", bench.platform.stop()).await;
    assert!(!bench.lines.lock().iter().any(|line| line == "began"));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_count_from_the_moment_in_which_they_are_set_and_for_every_path_but_ping() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    bench.deploy(1).await;
    assert_eq!(bench.get("/ping", None).await.0, 200);
    assert_eq!(bench.get("/docs", Some("mine")).await.0, 401);
    bench.ring.set(vec![KeyHash::of("mine")], vec![KeyHash::of("theirs")]);
    for path in ["/docs", "/openapi.json", "/_flash/bill", "/v2/gpu/health"] {
        assert_eq!(bench.get(path, Some("mine")).await.0, 200, "{path}");
        assert_eq!(bench.get(path, None).await.0, 401, "{path}");
        let (status, body) = bench.get(path, Some("theirs")).await;
        assert!(status == 403 && body.contains("another environment"), "{path}: {body}");
    }
    bench.ring.set(Vec::new(), Vec::new());
    assert_eq!(bench.get("/docs", Some("mine")).await.0, 401, "it was revoked");
    let lines = bench.lines.lock().join("\n");
    assert!(lines.contains("refused GET /docs from 127.0.0.1: an unknown key"), "{lines}");
    assert!(!lines.contains("mine") && !lines.contains("theirs"), "{lines}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_the_queue_api_takes_its_methods_and_names_them_to_others() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    bench.ring.set(vec![KeyHash::of("key")], Vec::new());
    bench.deploy(1).await;
    let client = flash_http::client().build().unwrap();
    for (method, path, status, named) in [
        ("DELETE", "status/7", 405, "allowed: GET, HEAD, POST"),
        ("POST", "status/7", 404, "has no job `7`"),
        ("GET", "run", 405, "allowed: POST"),
        ("POST", "run", 400, "not valid JSON"),
        ("POST", "health", 405, "allowed: GET, HEAD"),
        ("GET", "dead/requeue", 405, "allowed: POST"),
        ("GET", "job-done/w/7", 405, "allowed: POST"),
        ("POST", "job-done/w/7", 404, "no job `7`"),
        ("POST", "ping/w", 405, "allowed: GET, HEAD"),
        ("GET", "ping/w", 401, "wrong key for this worker"),
        ("GET", "statuss/7", 404, "did you mean `status`"),
        ("HEAD", "status/7", 404, ""),
        // They would take what they do not answer with.
        ("HEAD", "stream/7", 405, ""),
        ("HEAD", "job-take/w", 405, ""),
    ] {
        let method: reqwest::Method = method.parse().unwrap();
        let url = format!("{}/v2/gpu/{path}", bench.platform.worker_url());
        let answer = client.request(method.clone(), url).bearer_auth("key").send().await.unwrap();
        let (given, body) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(given == status && body.contains(named), "{method} {path}: {given} {body}");
    }
    within("stop", bench.platform.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_whose_worker_dies_at_its_start_is_not_live_and_says_its_last_lines() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    bench.deploy(1).await;
    let dies = of_script(2, "echo loading >&2; echo 'no such model' >&2; exit 3");
    let refused = within("deploy", bench.platform.deploy(dies, |_| ())).await.unwrap_err();
    let text = refused.to_string();
    let DeployError::NotReady { worker_type, reason, last_lines } = refused;
    assert_eq!((worker_type.as_str(), reason.as_str()), ("script", "exit code 3"));
    assert_eq!(last_lines, ["loading", "no such model"]);
    assert!(text.ends_with("exit code 3; last output: loading | no such model"), "{text}");
    assert_eq!(bench.platform.overview().live, Some(1), "the one before goes on");
    within("stop", bench.platform.stop()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_nobody_waits_for_any_more_leaves_no_worker_behind() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    let deploying = bench.platform.deploy(of_script(1, "exec sleep 1000"), |_| ());
    let soon = tokio::time::timeout(Duration::from_millis(300), deploying).await;
    assert!(soon.is_err(), "it never becomes ready");
    assert!(!bench.platform.shared.releases.is_starting() && bench.platform.overview().live.is_none());
    assert!(within("stop", bench.platform.stop()).await);
    assert_eq!(bench.platform.shared.context.tasks.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_running_the_end_waits_for_no_limit_whoever_is_still_connected() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    bench.ring.set(vec![KeyHash::of("key")], Vec::new());
    bench.deploy(1).await;
    bench.accepted(1).await;
    bench.work(1).await;
    // One without a request yet, and one that is kept open after its answer.
    let silent = tokio::net::TcpStream::connect(bench.platform.shared.address).await.unwrap();
    let client = flash_http::client().build().unwrap();
    let ping = client.get(format!("{}/ping", bench.platform.worker_url()));
    assert_eq!(ping.send().await.unwrap().text().await.unwrap(), r#"{"status":"healthy"}"#);
    within("stop", bench.platform.stop()).await;
    // What stays for as long as they are connected would be waited for until its limit.
    let Shared { gateway, context, .. } = &*bench.platform.shared;
    until("nothing is left", || gateway.is_empty() && context.tasks.is_empty()).await;
    drop((silent, client));
}

#[tokio::test]
async fn workers_of_a_release_that_is_torn_down_are_known_until_they_have_ended() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    let deploying = bench.platform.deploy(of_script(1, "exec sleep 1000"), |_| ());
    assert!(tokio::time::timeout(Duration::from_millis(300), deploying).await.is_err());
    // On the single thread of this test, nothing was killed yet, so a worker that connects now is still known.
    let pools = bench.platform.shared.releases.worker_pools("script");
    assert!(pools.len() == 1 && !pools[0].is_over());
    assert!(!bench.platform.shared.releases.is_starting() && bench.platform.overview().live.is_none());
    until("it is forgotten", || bench.platform.shared.releases.worker_pools("script").is_empty()).await;
    assert!(pools[0].is_over(), "not before its worker had ended");
    within("stop", bench.platform.stop()).await;
}

#[tokio::test]
async fn a_worker_that_is_not_ready_within_its_start_timeout_is_killed_and_its_release_fails() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    let mut new = of_script(1, "echo loading >&2; exec sleep 1000");
    for worker in
        new.manifest.workers.iter_mut().chain(new.commands.iter_mut().map(|own| &mut own.worker_type))
    {
        worker.start_timeout_seconds = Some(1);
    }
    let failed = bench.platform.deploy(new, |_| ()).await.unwrap_err();
    let DeployError::NotReady { worker_type, reason, .. } = &failed;
    assert_eq!(
        (worker_type.as_str(), reason.as_str()),
        ("script", "not ready within 1 s, its `start_timeout`")
    );
    within("stop", bench.platform.stop()).await;
}

#[test]
fn callers_wait_at_least_two_minutes_for_a_worker_and_longer_where_it_may_start_longer() {
    let mut worker = worker_type("model", 1);
    let seconds =
        |worker: &WorkerType| (worker.start_timeout().as_secs(), worker.start_allowance().as_secs());
    assert_eq!(seconds(&worker), (420, 120));
    worker.start_timeout_seconds = Some(1200);
    assert_eq!(seconds(&worker), (1200, 1200));
    worker.start_timeout_seconds = Some(5);
    assert_eq!(seconds(&worker), (5, 120));
}

#[tokio::test]
async fn a_worker_that_is_ready_outlives_the_time_that_it_had_to_become_so() {
    let store = TempDir::new().unwrap();
    let bench = start(store.path()).await;
    let mut new = of_script(1, "exec python3 -m http.server $PORT --bind 127.0.0.1");
    let command = &mut new.commands[0];
    command.worker_type.kind = EndpointKind::LoadBalanced;
    command.worker_type.scaler = EndpointKind::LoadBalanced.default_scaler();
    command.worker_type.workers_min = 1;
    command.health_path = "/".into();
    new.manifest.workers.clear();
    bench.platform.deploy(new, |_| ()).await.unwrap();
    let lines = || bench.lines.lock().clone();
    let limit = Duration::from_secs(WorkerType::DEFAULT_START_TIMEOUT.into());
    tokio::time::pause();
    tokio::time::advance(limit + Duration::from_secs(1)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    assert!(!lines().iter().any(|line| line.contains("killed")), "{:?}", lines());
    bench.platform.stop().await;
}
