//! Workers that hang, crash, hold on to stopped jobs or report too late: what `flash run` does about them.
use std::time::{Duration, Instant};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};

use crate::support::{self, Client, PATIENCE, Running, SOON, answers_pings_while, fixture, is_alive};

/// From the answer of a cancel until nothing of the job is left.
const A_SECOND: Duration = Duration::from_secs(1);

struct Api {
    app: Running,
    client: Client,
}

impl Api {
    fn start(environment: &[(&str, &str)]) -> Self {
        Self { app: Running::start_with(&fixture(), &["--no-reload"], environment), client: Client::new() }
    }

    fn url(&self, worker: &str, rest: &str) -> String {
        format!("{}/v2/{worker}/{rest}", self.app.url)
    }

    async fn run(&self, worker: &str, function: &str, mut input: Value) -> String {
        input["__flash"] = json!({ "function": function });
        let accepted = self.client.post(self.url(worker, "run"), json!({ "input": input })).await.json();
        accepted["id"].as_str().unwrap_or_else(|| panic!("{accepted}")).to_owned()
    }

    async fn status(&self, worker: &str, job: &str) -> Value {
        self.client.get(self.url(worker, &format!("status/{job}"))).await.json()
    }

    async fn health(&self, worker: &str) -> Value {
        self.client.get(self.url(worker, "health")).await.json()
    }

    async fn cancel(&self, worker: &str, job: &str) {
        let answer = self.client.post(self.url(worker, &format!("cancel/{job}")), json!({})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Waits until the job looks like this.
    async fn until(&self, limit: Duration, worker: &str, job: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + limit;
        loop {
            let status = self.status(worker, job).await;
            if fits(&status) {
                return status;
            }
            assert!(Instant::now() < until, "not within {limit:?}: {status}");
            tokio::task::yield_now().await;
        }
    }

    /// The process that runs the job, as the job itself says.
    async fn process_of(&self, worker: &str, job: &str) -> i32 {
        let running = |status: &Value| status["status"] == "IN_PROGRESS" && status["output"].is_u64();
        pid(&self.until(SOON, worker, job, running).await["output"])
    }

    async fn completed(&self, limit: Duration, worker: &str, job: &str) -> Value {
        let status = self.until(limit, worker, job, is_final).await;
        assert_eq!(status["status"], "COMPLETED", "{status}");
        status
    }

    /// Waits for a line that contains it: the answer to a request may be here before the line is.
    fn says(&self, text: &str) {
        self.app.event("log", |line| line["text"].as_str().unwrap().contains(text));
    }

    fn said(&self, text: &str) -> bool {
        self.app.count("log", |line| line["text"].as_str().unwrap().contains(text)) > 0
    }
}

fn pid(value: &Value) -> i32 {
    i32::try_from(value.as_u64().unwrap()).unwrap()
}

fn is_final(status: &Value) -> bool {
    ["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"].contains(&status["status"].as_str().unwrap_or_default())
}

/// How long until the process is gone.
async fn time_until_gone(process: i32) -> Duration {
    let from = Instant::now();
    while is_alive(process) {
        assert!(from.elapsed() < SOON, "process {process} lives on");
        tokio::task::yield_now().await;
    }
    from.elapsed()
}

fn signal(process: i32, signal: Signal) {
    kill(Pid::from_raw(process), signal).unwrap();
}

#[tokio::test]
async fn a_stopped_process_is_replaced_and_its_job_finishes_elsewhere() {
    let api = Api::start(&[]);
    let job = api.run("holder", "hold", json!({ "seconds": 2.0 })).await;
    let stopped = api.process_of("holder", &job).await;
    signal(stopped, Signal::SIGSTOP);
    // 15 s of silence, then a new worker.
    let done = api.completed(Duration::from_secs(90), "holder", &job).await;
    assert!(pid(&done["output"]) != stopped && !is_alive(stopped), "{done}");
    api.says("has not pinged for 15 s: killed");
}

#[tokio::test]
async fn a_worker_that_prints_without_pause_holds_up_neither_others_nor_its_own_timeout() {
    let api = Api::start(&[]);
    let job = api.run("spinner", "shout", json!({})).await;
    let shouting = |line: &Value| line["text"] == "y" && line["stream"] == "stderr";
    let timed_out = async {
        let begun = |status: &Value| status["status"] == "IN_PROGRESS";
        api.until(SOON, "spinner", &job, begun).await;
        // It may run for one second.
        api.until(Duration::from_secs(10), "spinner", &job, is_final).await
    };
    let status = answers_pings_while(&api.client, &api.app.url, timed_out).await;
    assert_eq!(status["status"], "TIMED_OUT", "{status}");
    // Up to half a megabyte of the other pipe may stand before it.
    api.app.event_within("log", PATIENCE, shouting);
}

#[tokio::test]
async fn a_line_that_has_no_end_belongs_to_the_job_that_began_it() {
    let api = Api::start(&[]);
    for text in ["one", "two"] {
        let job = api.run("trouble", "begin_line", json!({ "text": text })).await;
        api.completed(SOON, "trouble", &job).await;
        let line = api.app.event("log", |line| line["text"].as_str().unwrap().ends_with(text));
        assert_eq!((&line["text"], &line["job_id"]), (&json!(text), &json!(job)), "{line}");
    }
}

#[tokio::test]
async fn a_worker_whose_async_threads_all_block_is_busy_and_not_dead() {
    let api = Api::start(&[("TOKIO_WORKER_THREADS", "1")]);
    // Longer than silence may last.
    let job = api.run("blocker", "block", json!({ "seconds": 18 })).await;
    let done = api.completed(Duration::from_secs(90), "blocker", &job).await;
    assert!(!api.said("has not pinged"), "{done}");
    assert_eq!(api.health("blocker").await["jobs"]["retried"], 0);
}

#[tokio::test]
async fn a_cancelled_busy_loop_is_gone_within_a_second_and_its_slot_is_free_only_then() {
    let api = Api::start(&[]);
    let job = api.run("solo", "grind_alone", json!({ "seconds": 600 })).await;
    let busy = api.process_of("solo", &job).await;
    api.cancel("solo", &job).await;
    let next = api.run("solo", "who", json!({})).await;
    assert_eq!(api.status("solo", &job).await["status"], "CANCELLED", "the client waits for nothing");
    let took = time_until_gone(busy).await;
    assert!(took < A_SECOND, "{took:?}");
    // The next one has the slot of the process that is gone, at once: nobody crashed.
    let done = api.completed(Duration::from_secs(5), "solo", &next).await;
    assert_ne!(pid(&done["output"]), busy);
    assert_eq!(api.health("solo").await["workers"]["unhealthy"], 0);
    for text in ["ms ago: sent SIGTERM", "still working on a stopped job: killed"] {
        api.says(text);
    }
}

#[tokio::test]
async fn a_busy_loop_over_its_execution_timeout_is_gone_within_a_second() {
    let api = Api::start(&[]);
    let before = api.app.descendants();
    let job = api.run("spinner", "spin", json!({ "seconds": 600 })).await;
    api.until(SOON, "spinner", &job, |status| status["status"] == "IN_PROGRESS").await;
    let worker: Vec<i32> =
        api.app.descendants().into_iter().filter(|process| !before.contains(process)).collect();
    api.until(SOON, "spinner", &job, |status| status["status"] == "TIMED_OUT").await;
    for process in worker {
        let took = time_until_gone(process).await;
        assert!(took < A_SECOND, "{took:?}");
    }
}

#[tokio::test]
async fn a_job_beside_a_stuck_one_is_run_again() {
    let api = Api::start(&[]);
    let stuck = api.run("holder", "grind", json!({ "seconds": 600 })).await;
    let process = api.process_of("holder", &stuck).await;
    let beside = api.run("holder", "hold", json!({ "seconds": 3.0 })).await;
    assert_eq!(api.process_of("holder", &beside).await, process, "both on one worker");
    api.cancel("holder", &stuck).await;
    let done = api.completed(SOON, "holder", &beside).await;
    assert_ne!(pid(&done["output"]), process);
}

#[tokio::test]
async fn a_cancelled_job_that_yields_costs_no_worker() {
    let api = Api::start(&[]);
    let job = api.run("holder", "hold", json!({ "seconds": 600.0 })).await;
    let process = api.process_of("holder", &job).await;
    api.cancel("holder", &job).await;
    let next = api.run("holder", "hold", json!({ "seconds": 1.5 })).await;
    let done = api.completed(SOON, "holder", &next).await;
    assert_eq!(pid(&done["output"]), process, "the same worker went on");
}

#[tokio::test]
async fn the_job_of_a_worker_that_exits_is_queued_again_at_once() {
    let api = Api::start(&[]);
    let job = api.run("holder", "hold", json!({ "seconds": 1.0 })).await;
    let killed = api.process_of("holder", &job).await;
    signal(killed, Signal::SIGKILL);
    let moved = |status: &Value| {
        status["status"] == "IN_QUEUE" || status["output"].as_u64() != u64::try_from(killed).ok()
    };
    api.until(A_SECOND, "holder", &job, moved).await;
    let done = api.completed(SOON, "holder", &job).await;
    assert_ne!(pid(&done["output"]), killed);
}

#[tokio::test]
async fn a_crash_loop_is_told_in_health_log_and_answer_and_jobs_stay_queued() {
    let api = Api::start(&[("FIXTURE_BROKEN", "1")]);
    let left = api.run("fragile", "touch", json!({})).await;
    let refused = api.client.post(format!("{}/supervised/touch/run_sync", api.app.url), json!({})).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    for part in ["exit code 3", "looking for the model | there is no model", "retrying in"] {
        assert!(refused.text.contains(part), "{part}: {refused:?}");
    }
    let health = api.health("fragile").await;
    assert!(health["workers"]["unhealthy"].as_u64() >= Some(1), "{health}");
    assert_eq!(health["jobs"]["inQueue"], 1, "{health}");
    let told = api.app.event("log", |line| line["text"].as_str().unwrap().starts_with("crash loop: "));
    assert!(told["text"].as_str().unwrap().contains("exit code 3"), "{told}");
    // Twice more it ends; the loop is told once.
    let ends = || api.app.count("log", |line| line["text"].as_str().unwrap().starts_with("ended before"));
    support::wait_for(
        "two more crashes",
        SOON,
        || if ends() >= 5 { Ok(()) } else { Err(ends().to_string()) },
    );
    let loops = api.app.count("log", |line| line["text"].as_str().unwrap().starts_with("crash loop: "));
    assert_eq!(loops, 1);
    // Beside the line of the request that failed by it.
    let why = |line: &Value| line["text"].as_str().unwrap().contains("there is no model");
    let why = api.app.count("log", |line| why(line) && line["request_id"].is_null());
    assert_eq!(why, 1, "why they do not start is printed once");
    assert_eq!(api.status("fragile", &left).await["status"], "IN_QUEUE");
}

#[tokio::test]
async fn a_late_result_is_refused_and_logged() {
    let api = Api::start(&[]);
    let job = api.run("holder", "hold", json!({ "seconds": 1.0 })).await;
    let process = api.process_of("holder", &job).await;
    let worker = api.status("holder", &job).await["workerId"].as_str().unwrap().to_owned();
    let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let key = environment.split('\0').find_map(|pair| pair.strip_prefix("RUNPOD_AI_API_KEY=")).unwrap();
    signal(process, Signal::SIGKILL);
    api.app.event("log", |line| line["text"].as_str().unwrap().starts_with("ended: killed by SIGKILL"));
    // Something that the dead worker had started posts its result.
    let url = api.url("holder", &format!("job-done/{worker}/{job}?gpu="));
    let request = api.client.raw().post(url).header("authorization", key).body(r#"{"output":1}"#);
    let late = api.client.send(request).await;
    assert_eq!(late.status, 404, "{late:?}");
    let line = api.app.event("log", |line| line["text"].as_str().unwrap().contains("late result"));
    assert_eq!((line["worker"].as_str(), line["request_id"].as_str()), (Some(&*worker), Some(&*job)));
    let done = api.completed(SOON, "holder", &job).await;
    assert_ne!(pid(&done["output"]), process, "the second attempt's result counts");
}

/// The process of this worker.
fn process_of(app: &Running, worker: &str) -> Pid {
    let variable = format!("RUNPOD_POD_ID={worker}");
    let is_of_worker = |id: &i32| {
        let variables = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|own| own == variable.as_bytes())
    };
    Pid::from_raw(app.descendants().into_iter().find(is_of_worker).expect("a process of the worker"))
}

/// As a person does, or a system that needs the room: the platform learns of it from the worker.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_routes_that_others_ask_to_end_loses_no_request() {
    let api = Api::start(&[]);
    let url = format!("{}/items/1", api.app.url);
    let first = api.client.get(url.clone()).await.header("x-runpod-worker-id").to_owned();
    kill(process_of(&api.app, &first), Signal::SIGTERM).unwrap();
    let client = async || {
        let client = Client::new();
        loop {
            let answer = client.get(url.clone()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            if answer.header("x-runpod-worker-id") != first {
                return;
            }
        }
    };
    let all = futures_util::future::join_all((0..8).map(|_| client()));
    tokio::time::timeout(PATIENCE, all).await.expect("another worker takes over");
}
