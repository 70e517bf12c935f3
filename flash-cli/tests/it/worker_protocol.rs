//! A worker of ours on a platform that speaks only Runpod's worker protocol: a scripted server.
use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{Client, SOON, cargo, root, wait_for};

/// The fixture app's binary, as cargo leaves it.
pub fn binary() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let mut build =
            cargo(&["build", "--package", "fixture-app", "--message-format", "json-render-diagnostics"]);
        let output = build.current_dir(root()).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let executable = lines.lines().find_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(PathBuf::from)
        });
        executable.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    BUILT.get_or_init(build).clone()
}

/// What a worker sent.
#[derive(Debug, Clone)]
struct Sent {
    path: String,
    query: String,
    authorization: String,
    request_id: String,
    body: Value,
}

#[derive(Default)]
struct Script {
    /// Answers to takes; none left: the poll is held.
    jobs: VecDeque<Value>,
    /// Jobs to stop, each told once.
    stops: VecDeque<Value>,
    /// Statuses for posted results, before 200.
    refusals: VecDeque<u16>,
    /// Answers to `runsync` of other endpoints, by endpoint.
    answers: HashMap<String, Value>,
    sent: Vec<Sent>,
}

/// A platform that does as it is told and remembers everything.
#[derive(Clone)]
struct Scripted {
    script: Arc<Mutex<Script>>,
    changed: Arc<Notify>,
    address: std::net::SocketAddr,
}

impl Scripted {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self { script: Arc::default(), changed: Arc::default(), address };
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        server
    }

    fn give(&self, job: Value) {
        self.script.lock().unwrap().jobs.push_back(job);
        self.changed.notify_waiters();
    }

    fn stop(&self, id: &str) {
        self.script.lock().unwrap().stops.push_back(json!({ "jobsToStop": [id] }));
        self.changed.notify_waiters();
    }

    /// Waits for something that the worker sent.
    async fn sent(&self, what: &str, fits: impl Fn(&Sent) -> bool) -> Sent {
        self.sent_times(what, 1, fits).await.remove(0)
    }

    async fn sent_times(&self, what: &str, times: usize, fits: impl Fn(&Sent) -> bool) -> Vec<Sent> {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                let found: Vec<Sent> =
                    self.script.lock().unwrap().sent.iter().filter(|sent| fits(sent)).cloned().collect();
                if found.len() >= times {
                    return found;
                }
                changed.await;
            }
        };
        match tokio::time::timeout(SOON, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("{what} was not sent: {:#?}", self.script.lock().unwrap().sent),
        }
    }

    fn count(&self, fits: impl Fn(&Sent) -> bool) -> usize {
        self.script.lock().unwrap().sent.iter().filter(|sent| fits(sent)).count()
    }

    /// A worker of this type with the environment that Runpod injects.
    fn worker(&self, worker_type: &str, more: &[(&str, &str)]) -> Worker {
        let base = format!("http://{}/v2/ep", self.address);
        let child = Command::new(binary())
            .env("FLASH_WORKER", worker_type)
            .env("RUNPOD_WEBHOOK_GET_JOB", format!("{base}/job-take/$ID?gpu=$RUNPOD_GPU_TYPE_ID"))
            .env("RUNPOD_WEBHOOK_POST_OUTPUT", format!("{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=x"))
            .env("RUNPOD_WEBHOOK_POST_STREAM", format!("{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=x"))
            .env("RUNPOD_WEBHOOK_PING", format!("{base}/ping/$RUNPOD_POD_ID"))
            .env("RUNPOD_PING_INTERVAL", "100")
            .env("RUNPOD_AI_API_KEY", "worker-key")
            .env("RUNPOD_POD_ID", "pod1")
            .env("RUNPOD_GPU_TYPE_ID", "NVIDIA L4")
            .env("RUNPOD_POD_HOSTNAME", "pod1-host")
            .env("RUST_BACKTRACE", "0")
            .envs(more.iter().copied())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Worker(child)
    }
}

/// A worker whose environment is what a container on Runpod has: that of the image, Runpod's own, and what a deployment
/// sets. Its output goes to a file.
fn in_container(
    server: &Scripted,
    worker_type: &str,
    log: &std::path::Path,
    more: &[(&str, &str)],
) -> Worker {
    let base = format!("http://{}/v2/ep", server.address);
    let child = Command::new(binary())
        .env_clear()
        .env("RUNPOD_WEBHOOK_GET_JOB", format!("{base}/job-take/$ID?gpu=$RUNPOD_GPU_TYPE_ID"))
        .env("RUNPOD_WEBHOOK_POST_OUTPUT", format!("{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=x"))
        .env("RUNPOD_WEBHOOK_POST_STREAM", format!("{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=x"))
        .env("RUNPOD_WEBHOOK_PING", format!("{base}/ping/$RUNPOD_POD_ID"))
        .envs([("RUNPOD_PING_INTERVAL", "10000"), ("RUNPOD_AI_API_KEY", "worker-key")])
        .envs([("RUNPOD_POD_ID", "pod1"), ("RUNPOD_POD_HOSTNAME", "pod1-host"), ("RUNPOD_ENDPOINT_ID", "ep")])
        .envs([("RUNPOD_GPU_TYPE_ID", "NVIDIA L4"), ("RUNPOD_DC_ID", "EU-RO-1"), ("RUNPOD_CPU_COUNT", "2")])
        .envs([("FLASH_APP", "fixture"), ("FLASH_ENVIRONMENT", "cloud"), ("FLASH_RELEASE", "1")])
        .envs([("FLASH_WORKER", worker_type), ("FLASH_ENDPOINTS", "{}"), ("FLASH_DRAIN_SECONDS", "10")])
        .env("RUNPOD_API_KEY", "{{ RUNPOD_SECRET_FLASH_API_KEY }}")
        .envs(more.iter().copied())
        .stdout(std::fs::File::create(log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Worker(child)
}

async fn answer(State(server): State<Scripted>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let header = |name: &str| {
        parts.headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned())
    };
    let path = parts.uri.path().to_owned();
    let sent = Sent {
        query: parts.uri.query().unwrap_or_default().to_owned(),
        authorization: header("authorization"),
        request_id: header("x-request-id"),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        path: path.clone(),
    };
    server.script.lock().unwrap().sent.push(sent);
    server.changed.notify_waiters();
    let operation = path.split('/').nth(3).unwrap_or_default().to_owned();
    match operation.as_str() {
        "job-take" | "job-take-batch" => held(&server, |script| script.jobs.pop_front()).await,
        "job-stop" => held(&server, |script| script.stops.pop_front()).await,
        "job-done" => {
            let refusal = server.script.lock().unwrap().refusals.pop_front();
            StatusCode::from_u16(refusal.unwrap_or(200)).unwrap().into_response()
        }
        "runsync" => {
            let endpoint = path.split('/').nth(2).unwrap_or_default();
            axum::Json(server.script.lock().unwrap().answers[endpoint].clone()).into_response()
        }
        _ => StatusCode::OK.into_response(),
    }
}

/// A long poll: answered when the script has something, held otherwise.
async fn held(server: &Scripted, next: impl Fn(&mut Script) -> Option<Value>) -> Response {
    loop {
        let changed = server.changed.notified();
        if let Some(answer) = next(&mut server.script.lock().unwrap()) {
            return axum::Json(answer).into_response();
        }
        changed.await;
    }
}

struct Worker(Child);

impl Worker {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        wait_for("the worker's end", SOON, || {
            self.0.try_wait().unwrap().map(|status| status.code()).ok_or_else(|| "still runs".to_owned())
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_done(id: &str) -> impl Fn(&Sent) -> bool {
    let end = format!("/job-done/pod1/{id}");
    move |sent| sent.path.ends_with(&end) && sent.body["status"] != "IN_PROGRESS"
}

#[tokio::test]
async fn a_job_is_taken_run_and_posted() {
    let server = Scripted::start().await;
    let _worker = server.worker("greeter", &[]);
    server.give(json!({ "id": "j1", "input": { "name": "bob", "times": 1 }, "webhook": "ignored", "x": 1 }));
    let done = server.sent("the result", is_done("j1")).await;
    assert_eq!(done.body, json!({ "output": "one: hello bob" }));
    assert_eq!((done.authorization.as_str(), done.request_id.as_str()), ("worker-key", "j1"));
    assert_eq!(done.query, "gpu=x&isStream=false");
    let take = server.sent("a take", |sent| sent.path.ends_with("/job-take/pod1")).await;
    assert_eq!(take.authorization, "worker-key");
    assert_eq!(take.query, "gpu=NVIDIA%20L4&job_in_progress=0");
}

#[tokio::test]
async fn several_slots_take_a_batch_and_pings_name_what_runs() {
    let server = Scripted::start().await;
    let _worker = server.worker("sleeper", &[]);
    let job = |id: &str| json!({ "id": id, "input": { "seconds": 0.4 } });
    server.give(json!([job("a"), job("b")]));
    let take = server.sent("a batch take", |sent| sent.path.contains("/job-take-batch/")).await;
    assert!(take.query.contains("batch_size=4"), "{take:?}");
    server
        .sent("a ping with both jobs", |sent| {
            sent.path.ends_with("/ping/pod1")
                && (sent.query.contains("a%2Cb") || sent.query.contains("b%2Ca"))
        })
        .await;
    server.sent("the first result", is_done("a")).await;
    server.sent("the second result", is_done("b")).await;
    server
        .sent("an idle ping", |sent| sent.path.ends_with("/ping/pod1") && !sent.query.contains("job_id"))
        .await;
}

#[tokio::test]
async fn an_empty_input_is_an_ordinary_input() {
    let server = Scripted::start().await;
    let _worker = server.worker("nothing", &[]);
    for (id, job) in [
        ("a", json!({ "id": "a" })),
        ("b", json!({ "id": "b", "input": {} })),
        ("c", json!({ "id": "c", "input": null })),
    ] {
        server.give(job);
        let done = server.sent("the result", is_done(id)).await;
        assert_eq!(done.body, json!({ "output": "something" }), "{id}");
    }
}

#[tokio::test]
async fn a_failure_and_a_panic_are_posted_with_the_six_keys() {
    let server = Scripted::start().await;
    let _worker = server.worker("trouble", &[]);
    let input = |function: &str| json!({ "__flash": { "function": function }, "message": "oh no" });
    server.give(json!([{ "id": "f", "input": input("fail") }, { "id": "p", "input": input("panic_now") }, { "id": "b", "input": input("nope") }]));
    let error = async |id: &str| {
        let done = server.sent("the error", is_done(id)).await;
        assert!(done.body.get("output").is_none(), "{done:?}");
        serde_json::from_str::<Value>(done.body["error"].as_str().unwrap()).unwrap()
    };
    let failed = error("f").await;
    assert_eq!(failed["error_message"], "oh no: the disk is full");
    assert_eq!((&failed["worker_id"], &failed["hostname"]), (&json!("pod1"), &json!("pod1-host")));
    for key in ["error_type", "error_traceback", "runpod_version"] {
        assert!(failed[key].is_string(), "{key}: {failed}");
    }
    let panicked = error("p").await;
    let message = panicked["error_message"].as_str().unwrap();
    assert!(message.contains("oh no") && message.contains("trouble.rs:"), "{message}");
    let unknown = error("b").await;
    let message = unknown["error_message"].as_str().unwrap();
    assert!(message.contains("known: `fail`, ") && message.contains("`panic_now`"), "{message}");
}

#[tokio::test]
async fn a_provider_that_runs_a_job_once_gets_the_end_of_its_last_attempt() {
    let server = Scripted::start().await;
    let _worker = server.worker("retried", &[]);
    let directory = tempfile::TempDir::new().unwrap();
    let job = |name: &str, failures: usize| {
        let file = directory.path().join(name);
        json!({ "id": name, "input": { "__flash": { "function": "attempt" }, "file": file, "failures": failures } })
    };
    server.give(job("works", 1));
    let done = server.sent("the result", is_done("works")).await;
    assert_eq!(done.body, json!({ "output": 2 }));
    server.give(job("never", 9));
    let done = server.sent("the error", is_done("never")).await;
    let error: Value = serde_json::from_str(done.body["error"].as_str().unwrap()).unwrap();
    assert_eq!(error["error_message"], "the service was busy 3 times");
    assert_eq!(server.count(is_done("never")), 1, "of all attempts");
}

#[tokio::test]
async fn a_worker_of_a_task_ends_after_its_job_and_asks_to_be_replaced() {
    let server = Scripted::start().await;
    let mut worker = server.worker("tasked", &[]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let job = |id: &str| json!({ "id": id, "input": { "__flash": { "function": "run_alone" }, "file": file.path() } });
    server.give(job("one"));
    server.give(job("two"));
    let done = server.sent("the result", is_done("one")).await;
    assert_eq!((&done.body["stopPod"], done.body["output"].is_i64()), (&json!(true), true), "{done:?}");
    assert_eq!((worker.exit_code(), server.count(is_done("two"))), (Some(0), 0), "it took no other");
}

#[tokio::test]
async fn wrong_input_fails_the_job_and_names_the_fields() {
    let server = Scripted::start().await;
    let _worker = server.worker("greeter", &[]);
    server.give(json!({ "id": "j", "input": { "name": 7 } }));
    let done = server.sent("the error", is_done("j")).await;
    let error: Value = serde_json::from_str(done.body["error"].as_str().unwrap()).unwrap();
    assert_eq!(error["error_type"], "invalid_input");
    let paths: Vec<&Value> =
        error["flash"]["fields"].as_array().unwrap().iter().map(|field| &field["path"]).collect();
    assert!(paths.contains(&&json!("/times")) && paths.contains(&&json!("/name")), "{error}");
}

#[tokio::test]
async fn a_finished_result_is_offered_until_it_is_taken() {
    let server = Scripted::start().await;
    // More refusals than the three tries after which the official worker drops it.
    server.script.lock().unwrap().refusals.extend([500, 503, 429, 500]);
    let _worker = server.worker("nothing", &[]);
    server.give(json!({ "id": "j", "input": {} }));
    let posts = server.sent_times("five posts", 5, is_done("j")).await;
    assert!(posts.iter().all(|post| post.body == json!({ "output": "something" })));
    server.give(json!({ "id": "k", "input": {} }));
    server.sent("the next job's result", is_done("k")).await;
    assert_eq!(server.count(is_done("j")), 5, "taken once it is taken");
}

#[tokio::test]
async fn a_final_refusal_is_not_repeated() {
    let server = Scripted::start().await;
    server.script.lock().unwrap().refusals.extend([404]);
    let _worker = server.worker("nothing", &[]);
    server.give(json!({ "id": "j", "input": {} }));
    server.sent("the result", is_done("j")).await;
    server.give(json!({ "id": "k", "input": {} }));
    server.sent("the next job's result", is_done("k")).await;
    assert_eq!(server.count(is_done("j")), 1);
}

#[tokio::test]
async fn a_stopped_job_posts_nothing_and_frees_its_slot() {
    let server = Scripted::start().await;
    let _worker = server.worker("sleeper", &[]);
    server.give(json!([{ "id": "long", "input": { "seconds": 600.0 } }]));
    server.sent("a ping with the job", |sent| sent.query.contains("job_id=long")).await;
    server.stop("long");
    server
        .sent("a ping without it", |sent| sent.path.contains("/ping/") && !sent.query.contains("job_id"))
        .await;
    server.sent_times("pings after the stop", 3, |sent| sent.path.contains("/ping/")).await;
    server.give(json!({ "id": "short", "input": { "seconds": 0.0 } }));
    server.sent("the next job's result", is_done("short")).await;
    assert_eq!(server.count(is_done("long")), 0);
}

#[tokio::test]
async fn chunks_and_progress_are_posted_before_the_end() {
    let server = Scripted::start().await;
    let _counter = server.worker("counter", &[]);
    server.give(json!({ "id": "s", "input": { "to": 3 } }));
    let done = server.sent("the end of the stream", is_done("s")).await;
    assert_eq!(done.query, "gpu=x&isStream=true");
    assert_eq!(done.body, json!({ "output": [1, 2, 3] }));
    let chunks = server.sent_times("chunks", 3, |sent| sent.path.ends_with("/job-stream/pod1/s")).await;
    let outputs: Vec<&Value> = chunks.iter().map(|chunk| &chunk.body["output"]).collect();
    assert_eq!(outputs, [1, 2, 3]);

    let server = Scripted::start().await;
    let _reporter = server.worker("reporter", &[]);
    server.give(json!({ "id": "p", "input": { "steps": 2 } }));
    server.sent("the result", is_done("p")).await;
    let updates = server.sent_times("progress", 2, |sent| sent.body["status"] == "IN_PROGRESS").await;
    assert_eq!(updates.iter().map(|sent| &sent.body["output"]).collect::<Vec<_>>(), [1, 2]);
}

#[tokio::test]
async fn a_signal_ends_the_intake_and_lets_the_job_finish() {
    let server = Scripted::start().await;
    let mut worker = server.worker("sleeper", &[]);
    server.give(json!([{ "id": "j", "input": { "seconds": 0.5 } }]));
    server.sent("a ping with the job", |sent| sent.query.contains("job_id=j")).await;
    worker.signal(Signal::SIGTERM);
    server.sent("the result", is_done("j")).await;
    assert_eq!(tokio::task::spawn_blocking(move || worker.exit_code()).await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_worker_without_a_place_to_take_jobs_from_says_so() {
    let output = Command::new(binary()).env("FLASH_WORKER", "greeter").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("RUNPOD_WEBHOOK_GET_JOB") && stderr.contains("`greeter`"), "{stderr}");
    let unknown = Command::new(binary()).env("FLASH_WORKER", "gretter").output().unwrap();
    let stderr = String::from_utf8_lossy(&unknown.stderr);
    assert!(stderr.contains("no worker type `gretter`; known: ") && stderr.contains("`greeter`"), "{stderr}");
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn a_load_balanced_worker_answers_pings_while_it_initialises() {
    let server = Scripted::start().await;
    let directory = tempfile::TempDir::new().unwrap();
    let gate = directory.path().join("gate");
    let (port, health) = (free_port(), free_port());
    let more = [
        ("PORT", &*port.to_string()),
        ("PORT_HEALTH", &*health.to_string()),
        ("FLASH_HTTP_HOST", "127.0.0.1"),
        ("FIXTURE_GATE", gate.to_str().unwrap()),
    ];
    let mut worker = server.worker("gate", &more);
    let client = Client::new();
    let ping = async |port: u16| {
        let answer = client.raw().get(format!("http://127.0.0.1:{port}/ping")).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    let opened = tokio::time::timeout(SOON, async { while ping(health).await.is_none() {} }).await;
    opened.expect("the health port opens at once");
    assert_eq!((ping(port).await, ping(health).await), (Some(204), Some(204)), "initialising");
    let early = tokio::spawn({
        let client = client.clone();
        async move { client.get(format!("http://127.0.0.1:{port}/through")).await }
    });
    std::fs::write(&gate, "").unwrap();
    assert_eq!(early.await.unwrap().json(), "through", "a request that came early is held, not refused");
    assert_eq!((ping(port).await, ping(health).await), (Some(200), Some(200)));
    worker.signal(Signal::SIGTERM);
    assert_eq!(tokio::task::spawn_blocking(move || worker.exit_code()).await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_queue_worker_in_a_container_takes_jobs_logs_lines_of_json_and_goes_on_sigterm() {
    let server = Scripted::start().await;
    let directory = tempfile::TempDir::new().unwrap();
    let log = directory.path().join("log");
    let mut worker = in_container(&server, "nothing", &log, &[]);
    server.give(json!({ "id": "j", "input": {} }));
    let done = server.sent("the result", is_done("j")).await;
    assert_eq!((done.body, done.authorization.as_str()), (json!({ "output": "something" }), "worker-key"));
    worker.signal(Signal::SIGTERM);
    assert_eq!(tokio::task::spawn_blocking(move || worker.exit_code()).await.unwrap(), Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let warned = lines.iter().find(|line| line["level"] == "WARN").unwrap_or_else(|| panic!("{text}"));
    assert!(warned["message"].as_str().unwrap().contains("no secret `FLASH_API_KEY`"), "{text}");
    assert!(warned.as_object().unwrap().contains_key("requestId"), "{text}");
}

#[tokio::test]
async fn a_load_balanced_worker_in_a_container_serves_on_its_port_and_goes_on_sigterm() {
    let server = Scripted::start().await;
    let directory = tempfile::TempDir::new().unwrap();
    let (gate, port) = (directory.path().join("gate"), free_port().to_string());
    let more = [("PORT", &*port), ("PORT_HEALTH", &*port), ("FIXTURE_GATE", gate.to_str().unwrap())];
    let mut worker = in_container(&server, "gate", &directory.path().join("log"), &more);
    let client = Client::new();
    let ping = async || {
        let answer = client.raw().get(format!("http://127.0.0.1:{port}/ping")).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    let opened = tokio::time::timeout(SOON, async { while ping().await.is_none() {} }).await;
    opened.expect("the port opens at once");
    assert_eq!(ping().await, Some(204), "initialising");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(client.get(format!("http://127.0.0.1:{port}/through")).await.json(), "through");
    assert_eq!(ping().await, Some(200));
    worker.signal(Signal::SIGTERM);
    assert_eq!(tokio::task::spawn_blocking(move || worker.exit_code()).await.unwrap(), Some(0));
    assert_eq!(server.count(|sent| sent.path.contains("job-take")), 0, "it takes no jobs");
}

#[tokio::test]
async fn calls_go_over_http_by_the_endpoint_map_and_carry_their_context() {
    let server = Scripted::start().await;
    let completed = |output: Value| json!({ "id": "x", "status": "COMPLETED", "output": output });
    server.script.lock().unwrap().answers = HashMap::from([
        ("g".to_owned(), completed(json!("hi"))),
        ("a".to_owned(), completed(json!(5))),
        ("c".to_owned(), completed(json!("a cat"))),
    ]);
    let port = free_port();
    let endpoints = format!(
        r#"{{"greeter":"http://{0}/v2/g","adder":"http://{0}/v2/a","captioner":"http://{0}/v2/c"}}"#,
        server.address
    );
    let more = [
        ("PORT", &*port.to_string()),
        ("FLASH_HTTP_HOST", "127.0.0.1"),
        ("FLASH_ENDPOINTS", &endpoints),
        ("RUNPOD_API_KEY", "client-key"),
    ];
    let _worker = server.worker("web", &more);
    let client = Client::new();
    let ping = format!("http://127.0.0.1:{port}/ping");
    while client.raw().get(&ping).send().await.is_err() {}
    let request = client.raw().post(format!("http://127.0.0.1:{port}/greet")).header("x-request-id", "r-1");
    let answer = client.send(request.body(r#"{"name":"bob"}"#)).await;
    assert_eq!(answer.json(), json!({ "greeting": "hi", "sum": 5 }));
    let call = server.sent("the call", |sent| sent.path == "/v2/g/runsync").await;
    assert_eq!((call.authorization.as_str(), call.request_id.as_str()), ("Bearer client-key", "r-1"));
    let input = &call.body["input"];
    assert_eq!((&input["name"], &input["times"]), (&json!("bob"), &json!(1)));
    let envelope = &input["__flash"];
    assert_eq!((&envelope["function"], &envelope["request_id"]), (&json!("greet"), &json!("r-1")));
    assert_eq!(envelope["depth"], 1);
    assert!(envelope["deadline_ms"].is_u64() && envelope["traceparent"].is_string(), "{envelope}");

    // A worker that is no function gets its input as it is; the context is in the headers.
    let request = client.raw().post(format!("http://127.0.0.1:{port}/caption")).header("x-request-id", "r-2");
    let answer = client.send(request.body(r#"{"picture":"cat.jpg"}"#)).await;
    assert_eq!(answer.json(), "a cat");
    let call = server.sent("the plain call", |sent| sent.path == "/v2/c/runsync").await;
    assert_eq!((call.body, call.request_id.as_str()), (json!({ "input": { "picture": "cat.jpg" } }), "r-2"));

    // A callee's failure arrives whole.
    let error = json!({ "id": "x", "status": "FAILED", "error": "out of memory", "workerId": "w9" });
    server.script.lock().unwrap().answers.insert("g".to_owned(), error);
    let failed = client.post(format!("http://127.0.0.1:{port}/greet"), json!({ "name": "bob" })).await;
    let body = failed.json();
    assert_eq!(
        (failed.status, &body["stage"], &body["worker_id"]),
        (500, &json!("greeter/greet"), &json!("w9"))
    );
    assert!(body["error"].as_str().unwrap().contains("out of memory"), "{body}");
}

#[tokio::test]
async fn a_platform_that_is_away_is_asked_again_ever_more_slowly() {
    let server = Scripted::start().await;
    let away = free_port();
    let base = format!("http://127.0.0.1:{away}/v2/ep/job-take/$ID?");
    let _worker = server.worker("nothing", &[("RUNPOD_WEBHOOK_GET_JOB", &base)]);
    server.sent_times("pings: the worker lives on", 5, |sent| sent.path.contains("/ping/")).await;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", away)).await.unwrap();
    let router = Router::new().fallback(answer).with_state(server.clone());
    tokio::spawn(axum::serve(listener, router).into_future());
    server.give(json!({ "id": "j", "input": {} }));
    tokio::time::timeout(SOON + Duration::from_secs(15), server.sent("the result", is_done("j")))
        .await
        .unwrap();
}
