//! The client API of the queue, by plain HTTP.
#![allow(clippy::print_stdout, reason = "numbers for whoever runs it by hand")]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use futures_util::StreamExt as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{
    Client, PATIENCE, Running, SOON, answers_pings_while, fixture,
    kept::{Endpoint, WEBHOOK_SECRET, id_of, input_for, is_final},
    receiver::Receiver,
    until,
};

/// A fixture that serves, and a directory whose files let jobs end.
struct Setup {
    app: Running,
    gates: TempDir,
}

impl Setup {
    fn new() -> Self {
        let environment = [("FLASH_WEBHOOK_SECRET", WEBHOOK_SECRET)];
        let app = Running::start_with(&fixture(), &["--no-reload"], &environment);
        Self { app, gates: TempDir::new().unwrap() }
    }

    fn endpoint(&self, worker: &str) -> Endpoint {
        Endpoint::of(&self.app, worker)
    }

    fn gate(&self, name: &str) -> PathBuf {
        self.gates.path().join(name)
    }

    fn open(&self, name: &str) {
        std::fs::write(self.gate(name), "").unwrap();
    }
}

fn is_running(job: &Value) -> bool {
    job["status"] == "IN_PROGRESS"
}

#[tokio::test]
async fn status_sync_holds_until_the_end_or_until_its_wait_is_over() {
    let setup = Setup::new();
    let gated = setup.endpoint("gated");
    let job = gated.run(json!({ "input": { "file": setup.gate("it") } })).await;
    gated.until(&job, is_running).await;
    let began = Instant::now();
    let waited = gated.get(&format!("status-sync/{job}?wait=1000")).await;
    assert_eq!((waited.status, &waited.json()["status"]), (200, &json!("IN_PROGRESS")), "{waited:?}");
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let held = tokio::spawn({
        let (gated, path) = (gated.clone(), format!("status-sync/{job}?wait=50000"));
        async move { gated.get(&path).await.json() }
    });
    setup.open("it");
    let end = held.await.unwrap();
    assert_eq!(end["status"], "COMPLETED", "{end}");
    assert_eq!(end, gated.status(&job).await, "as status says it");
    let unknown = gated.get("status-sync/no-such-job").await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
}

#[tokio::test]
async fn texts_of_megabytes_are_refused_in_few_words_and_hold_up_nobody() {
    let setup = Setup::new();
    let (client, url) = (Client::new(), setup.app.url.clone());
    let text = "a".repeat(4_500_000);
    let flash = |name: &str| json!({ "input": { "__flash": { "function": name } } });
    let bodies = [
        ("spinner/run", flash(&text)),
        ("spinner/runsync", flash(&"ä".repeat(2_000_000))),
        ("adder/run", json!({ "input": { "left": text, "right": text } })),
        ("adder/run", json!({ "input": { (text.clone()): 1 } })),
        ("adder/run", json!({ "input": { "left": 1 }, "webhook": text })),
        ("adder/run", json!({ "input": { "left": 1 }, "policy": { "ttl": text } })),
        ("adder/run", json!({ "input": { "left": 1 }, "policy": text })),
    ];
    // As text already: this test's own thread has pings to ask.
    let bodies = bodies.map(|(path, body)| (path, body.to_string()));
    let refused = async {
        for (path, body) in bodies {
            let to = format!("{url}/v2/{path}");
            let (one, other) = tokio::join!(client.post_text(&to, body.clone()), client.post_text(&to, body));
            for answer in [one, other] {
                let beginning: String = answer.text.chars().take(300).collect();
                assert!(matches!(answer.status, 400 | 422), "{path}: {} {beginning}", answer.status);
                assert!(answer.text.len() <= 16_000, "{path}: {} bytes: {beginning}", answer.text.len());
            }
        }
        for path in ["v2/spinner/nothing", "v2/spinner/status", "v2", "ping", "docs"] {
            let answer = client.get(format!("{url}/{path}/{}", "b".repeat(50_000))).await;
            assert!(answer.status == 404 && answer.text.len() < 1_000, "{path}: {answer:?}");
        }
    };
    answers_pings_while(&client, &url, refused).await;
}

#[tokio::test]
async fn a_runsync_whose_wait_runs_out_answers_with_the_job_that_goes_on() {
    let setup = Setup::new();
    let gated = setup.endpoint("gated");
    let began = Instant::now();
    let left = gated.post("runsync?wait=1000", json!({ "input": { "file": setup.gate("it") } })).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    let job = id_of(&left);
    assert!(!is_final(&left.json()), "{left:?}");
    setup.open("it");
    assert_eq!(gated.ended(&job).await["status"], "COMPLETED");
}

#[tokio::test]
async fn a_job_whose_time_is_over_is_gone_whether_it_waits_or_runs() {
    let setup = Setup::new();
    let gated = setup.endpoint("gated");
    let short = |gate: &str| json!({ "input": { "file": setup.gate(gate) }, "policy": { "ttl": 10_000, "executionTimeout": 60_000 } });
    let began = Instant::now();
    let running = gated.run(short("never")).await;
    gated.until(&running, is_running).await;
    // One worker with one slot: this one waits.
    let waiting = gated.run(short("never")).await;
    let next = gated.run(json!({ "input": { "file": setup.gate("open") } })).await;
    for job in [&running, &waiting] {
        until("the end of its time", PATIENCE, async || {
            let answer = gated.get(&format!("status/{job}")).await;
            if answer.status == 404 { Ok(()) } else { Err(answer.text) }
        })
        .await;
        assert!(began.elapsed() >= Duration::from_secs(10), "{:?}", began.elapsed());
        for (operation, is_get) in [("stream", true), ("cancel", false), ("retry", false)] {
            let path = format!("{operation}/{job}");
            let gone = if is_get { gated.get(&path).await } else { gated.post(&path, json!({})).await };
            assert_eq!(gone.status, 404, "{operation}: {gone:?}");
        }
    }
    // The worker was told to stop and is free again.
    setup.open("open");
    assert_eq!(gated.ended(&next).await["status"], "COMPLETED");
    let listed = gated.listed("").await;
    assert_eq!(listed.len(), 1, "{listed:?}");
}

#[tokio::test]
async fn what_a_job_may_ask_for_is_bounded_and_the_refusal_names_it() {
    let setup = Setup::new();
    let echo = setup.endpoint("echo");
    let cases = [
        (json!({ "policy": { "executionTimeout": 4_999 } }), "/policy/executionTimeout"),
        (json!({ "policy": { "executionTimeout": 604_800_001 } }), "/policy/executionTimeout"),
        (json!({ "policy": { "ttl": 9_999 } }), "/policy/ttl"),
        (json!({ "policy": { "ttl": 604_800_001 } }), "/policy/ttl"),
        (json!({ "webhook": "ftp://example.org/" }), "/webhook"),
        (json!({ "webhook": "no url" }), "/webhook"),
    ];
    for (mut body, field) in cases {
        body["input"] = json!({ "value": 1 });
        for operation in ["run", "runsync"] {
            let refused = echo.post(operation, body.clone()).await;
            assert_eq!(refused.status, 422, "{body}: {refused:?}");
            assert_eq!(refused.json()["fields"][0]["path"], field, "{refused:?}");
        }
    }
    let negative = echo.post("run", json!({ "input": { "value": 1 }, "policy": { "ttl": -1 } })).await;
    assert_eq!(negative.status, 400, "{negative:?}");
    for policy in [json!({ "ttl": 10_000 }), json!({ "ttl": 604_800_000, "executionTimeout": 5_000 })] {
        let job = echo.run(json!({ "input": { "value": 1 }, "policy": policy })).await;
        assert_eq!(echo.ended(&job).await["output"]["value"], 1);
    }
    assert_eq!(echo.listed("").await.len(), 2, "what was refused is not there");

    // Some clients write every field that they know; some compress.
    for null in [
        json!({ "policy": null }),
        json!({ "policy": { "lowPriority": null }, "webhook": null, "s3Config": null }),
    ] {
        let mut body = null;
        body["input"] = json!({ "value": 1 });
        let taken = echo.post("runsync", body.clone()).await;
        assert_eq!(taken.status, 200, "{body}: {taken:?}");
    }
    let app = &setup.app.url;
    for address in [
        format!("{app}/v2/echo/run"),
        format!("{app}/v2/echo/runsync"),
        format!("{app}/jobs/add/run_sync"),
        format!("{app}/greet"),
    ] {
        let request = echo.client.raw().post(&address).header("content-type", "application/json");
        let refused =
            echo.client.send(request.header("content-encoding", "gzip").body(vec![0x1f, 0x8b, 8])).await;
        assert_eq!(refused.status, 415, "{address}: {refused:?}");
        assert!(refused.json()["error"].as_str().unwrap().contains("Content-Encoding: gzip"), "{refused:?}");
    }

    // What only the queue API knows is not dropped without a word elsewhere.
    let input = json!({ "left": 1, "right": 2 });
    let body = json!({ "input": input, "webhook": "https://box.example/", "policy": { "ttl": 60_000 } });
    let refused = echo.client.post(format!("{app}/jobs/add/runsync"), body).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let fields = refused.json()["fields"].clone();
    let paths: Vec<&Value> = fields.as_array().unwrap().iter().map(|field| &field["path"]).collect();
    assert_eq!(paths, ["/webhook", "/policy"], "{fields}");
    let body = json!({ "input": input, "webhook": null });
    assert_eq!(echo.client.post(format!("{app}/jobs/add/runsync"), body).await.status, 200);
}

#[tokio::test]
async fn a_wrong_input_is_told_by_its_place_and_never_repeated() {
    let setup = Setup::new();
    let trouble = setup.endpoint("trouble");
    let secret = "hunter2".repeat(30_000);
    for (shape, path, said) in [
        (json!({ "kind": secret }), "/kind", "expected one of `circle`, `rectangle`"),
        (json!({ "radius": secret }), "/kind", "missing: expected one of `circle`, `rectangle`"),
        (json!({ "kind": "circle", "radius": secret }), "/radius", "expected number, got string"),
        (json!({ "kind": "rectangle", "width": 1, secret.as_str(): 1 }), "/height", "missing"),
    ] {
        let refused = trouble.post("run", input_for("measure", shape)).await;
        assert_eq!(refused.status, 422, "{path}: {refused:?}");
        assert_eq!(refused.json()["fields"], json!([{ "path": path, "message": said }]));
        assert!(refused.text.len() < 1000 && !refused.text.contains("hunter2"), "{}", refused.text);
    }
    // Text that only a closer look shows to be no JSON: the reason counts, not that no function could be read.
    let deep = format!("{}1{}", "[".repeat(126), "]".repeat(126));
    for (text, said) in
        [("\"\\ud800\"", "hex escape at line 1 column"), (&*deep, "nested too deeply: at most 127")]
    {
        let body = format!(
            "{{\"input\":{{\"__flash\":{{\"function\":\"long\"}},\"characters\":{{\"a\":{text}}}}}}}"
        );
        let request = trouble.client.raw().post(format!("{}/run", trouble.url)).body(body);
        let refused = trouble.client.send(request).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        let error = refused.json()["error"].clone();
        assert!(error.as_str().is_some_and(|error| error.contains(said)), "{error}");
    }
}

#[tokio::test]
async fn the_calls_of_a_map_get_their_workers_at_once() {
    let setup = Setup::new();
    let (mapper, mapped) = (setup.endpoint("mapper"), setup.endpoint("mapped"));
    let job = mapper.run(json!({ "input": { "file": setup.gate("all"), "calls": 5 } })).await;
    until("three workers at work", PATIENCE, async || {
        let health = mapped.get("health").await.json();
        match (&health["jobs"]["inProgress"], &health["jobs"]["inQueue"]) {
            (running, waiting) if *running == 3 && *waiting == 2 => Ok(()),
            _ => Err(health.to_string()),
        }
    })
    .await;
    setup.open("all");
    assert_eq!(mapper.ended(&job).await["output"], 5);
}

#[tokio::test]
async fn json_that_no_worker_decodes_is_refused_at_every_door() {
    let setup = Setup::new();
    let echo = setup.endpoint("echo");
    let client = Client::new();
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    let doors = |levels: usize| {
        let value = nested(levels);
        let (input, wrapped) =
            (format!("{{\"value\": {value}}}"), format!("{{\"input\": {{\"value\": {value}}}}}"));
        [
            ("/v2/echo/run", wrapped.clone()),
            ("/v2/echo/runsync", wrapped.clone()),
            ("/waits/echo/runsync", wrapped),
            ("/waits/echo/run_sync", input),
            ("/greet", format!("{{\"name\": {value}}}")),
        ]
    };
    for levels in [127, 1000, 100_000] {
        for (path, body) in doors(levels) {
            let refused = client.post_text(format!("{}{path}", setup.app.url), body).await;
            assert_eq!(refused.status, 400, "{path} with {levels}: {refused:?}");
            assert!(refused.text.contains("nested too deeply: at most 127"), "{path}: {refused:?}");
        }
    }
    // The level that holds the arrays counts too, and `{"input": …}` does not.
    for (path, body) in &doors(126)[..4] {
        let taken = client.post_text(format!("{}{path}", setup.app.url), body.clone()).await;
        assert_eq!(taken.status, 200, "{path}: {taken:?}");
    }
    assert_eq!(echo.listed("").await.len(), 4, "what was refused is not there");
}

#[tokio::test]
async fn low_priority_starts_no_worker_and_runs_when_there_is_one() {
    let setup = Setup::new();
    let echo = setup.endpoint("echo");
    let low = json!({ "input": { "value": "low" }, "policy": { "lowPriority": true } });
    let job = echo.run(low).await;
    // The autoscaler has looked several times by then.
    let waited = echo.get(&format!("status-sync/{job}?wait=2000")).await.json();
    assert_eq!(waited["status"], "IN_QUEUE", "{waited}");
    let health = echo.get("health").await.json();
    assert_eq!(
        (&health["jobs"]["inQueue"], &health["workers"]["initializing"], &health["workers"]["ready"]),
        (&json!(1), &json!(0), &json!(0)),
        "{health}"
    );
    let normal = echo.run(json!({ "input": { "value": "normal" } })).await;
    assert_eq!(echo.ended(&normal).await["output"]["value"], "normal");
    assert_eq!(echo.ended(&job).await["output"]["value"], "low");
}

#[tokio::test]
async fn requests_are_listed_by_filter_in_pages() {
    let setup = Setup::new();
    let trouble = setup.endpoint("trouble");
    let mut jobs = Vec::new();
    for number in 0..5 {
        jobs.push(trouble.run(input_for("long", json!({ "characters": number }))).await);
    }
    let request = trouble.client.raw().post(format!("{}/run", trouble.url)).header("x-request-id", "mine");
    let failing = trouble.client.send(request.json(&input_for("fail", json!({ "message": "no" })))).await;
    jobs.push(id_of(&failing));
    for job in &jobs {
        trouble.ended(job).await;
    }
    jobs.reverse();
    let ids = |listed: &[Value]| listed.iter().map(|job| job["id"].clone()).collect::<Vec<_>>();
    let all = trouble.listed("").await;
    assert_eq!(ids(&all), jobs, "the latest first");
    assert!(all.iter().all(|job| job["output"].is_null()), "without outputs: {all:?}");
    assert_eq!(ids(&trouble.listed("limit=2").await), jobs, "no page repeats or skips one");
    let page = trouble.get("requests?limit=2").await.json();
    assert_eq!((page["requests"].as_array().unwrap().len(), &page["next"]), (2, &json!(jobs[1])));
    assert_eq!(ids(&trouble.listed("status=FAILED").await), jobs[..1]);
    assert_eq!(ids(&trouble.listed("requestId=mine").await), jobs[..1]);
    assert_eq!(ids(&trouble.listed("function=long&limit=1").await), jobs[1..]);
    assert_eq!(trouble.listed("status=CANCELLED").await.len(), 0);
    let worker = all[0]["workerId"].as_str().unwrap();
    assert!(!trouble.listed(&format!("workerId={worker}")).await.is_empty());
    for wrong in ["status=LOST", "limit=many", "before=yesterday", "colour=red"] {
        let refused = trouble.get(&format!("requests?{wrong}")).await;
        assert_eq!(refused.status, 400, "{wrong}: {refused:?}");
    }
}

#[tokio::test]
async fn only_dead_jobs_are_brought_back_from_the_dead() {
    let setup = Setup::new();
    let (crasher, trouble) = (setup.endpoint("crasher"), setup.endpoint("trouble"));
    let dead = crasher.run(json!({ "input": { "words": "enough" } })).await;
    let end = crasher.ended(&dead).await;
    assert_eq!((&end["status"], &end["retries"]), (&json!("FAILED"), &json!(2)), "{end}");
    let listed = crasher.dead().await;
    assert_eq!((listed.len(), &listed[0]["id"], &listed[0]["error"]), (1, &json!(dead), &end["error"]));
    let failed = trouble.run(input_for("fail", json!({ "message": "no" }))).await;
    trouble.ended(&failed).await;
    assert_eq!(trouble.dead().await, Vec::<Value>::new(), "its worker lives");
    let refused = trouble.post(&format!("dead/{failed}/requeue"), json!({})).await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(refused.json()["error"].as_str().unwrap().contains("/retry/"), "{refused:?}");
    assert_eq!(crasher.post("dead/no-such-job/requeue", json!({})).await.status, 404);
    let back = crasher.post(&format!("dead/{dead}/requeue"), json!({})).await;
    assert_eq!(back.json(), json!({ "id": dead, "status": "IN_QUEUE" }));
    assert_eq!(crasher.ended(&dead).await["retries"], 5);
    assert_eq!(crasher.post("dead/requeue", json!({})).await.json(), json!({ "requeued": 1 }));
    assert_eq!(crasher.dead().await, Vec::<Value>::new());
    assert!(!is_final(&crasher.status(&dead).await));
}

#[tokio::test]
async fn events_come_as_they_happen_and_end_with_the_job() {
    let setup = Setup::new();
    let trickle = setup.endpoint("trickle");
    let job = trickle.run(json!({ "input": { "file": setup.gate("rest"), "chunks": 3 } })).await;
    let url = format!("{}/stream/{job}", trickle.url);
    let request = trickle.client.raw().get(url).header("accept", "text/html, text/event-stream;q=0.9");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let (mut events, mut text) = (response.bytes_stream(), String::new());
    while !text.contains("data: {\"output\":1}\n\n") {
        text.push_str(std::str::from_utf8(&events.next().await.unwrap().unwrap()).unwrap());
    }
    // The first came before the others were made.
    setup.open("rest");
    while let Some(piece) = events.next().await {
        text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
    }
    let said: Vec<&str> = text.split("\n\n").filter(|event| !event.is_empty() && *event != ":").collect();
    assert_eq!(said[..3], [1, 2, 3].map(|number| format!("data: {{\"output\":{number}}}")));
    let end = said[3].strip_prefix("event: end\ndata: ").unwrap_or_else(|| panic!("{text}"));
    let end: Value = serde_json::from_str(end).unwrap();
    assert_eq!((&end["id"], &end["status"], said.len()), (&json!(job), &json!("COMPLETED"), 4));
    assert_eq!(end["output"], json!([1, 2, 3]));
}

#[tokio::test]
async fn a_long_stream_that_nobody_fetched_in_time_is_whole_at_its_end() {
    let setup = Setup::new();
    let trickle = setup.endpoint("trickle");
    setup.open("rest");
    let chunks = 10_050;
    let job = trickle.run(json!({ "input": { "file": setup.gate("rest"), "chunks": chunks } })).await;
    let end = trickle.ended(&job).await;
    assert_eq!((&end["status"], &end["error"]), (&json!("COMPLETED"), &json!(null)));
    let stream = trickle.get(&format!("stream/{job}")).await.json();
    let outputs = stream["stream"].as_array().unwrap().iter().map(|chunk| chunk["output"].clone());
    assert_eq!(outputs.collect::<Vec<_>>(), (1..=chunks).map(|number| json!(number)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_job_whose_client_has_gone_is_let_go_before_its_start() {
    let setup = Setup::new();
    let gated = setup.endpoint("gated");
    let running = gated.run(json!({ "input": { "file": setup.gate("it") } })).await;
    gated.until(&running, is_running).await;
    // One worker with one slot: these wait. None of their clients has heard an id.
    let file = json!({ "file": setup.gate("it") });
    let waits = |path: &str, body: Value| {
        let request = gated.client.raw().post(setup.app.url.clone() + path).json(&body);
        tokio::spawn(async move { request.send().await.map(drop) })
    };
    let gone = [
        waits("/v2/gated/runsync", json!({ "input": file })),
        waits("/waits/wait_at_gate/run_sync", file.clone()),
        waits("/waits/wait_at_gate/runsync", json!({ "input": file })),
    ];
    let webhook = "http://127.0.0.1:9/told-anyway";
    let told = waits("/v2/gated/runsync", json!({ "input": file, "webhook": webhook }));
    let listed = async |status: &str, count: usize| {
        until(&format!("{count} jobs {status}"), PATIENCE, async || {
            let jobs = gated.listed(&format!("status={status}")).await;
            if jobs.len() == count { Ok(jobs) } else { Err(format!("{jobs:?}")) }
        })
        .await
    };
    listed("IN_QUEUE", 4).await;
    gone.iter().chain([&told]).for_each(|client| client.abort());
    let cancelled = listed("CANCELLED", 3).await;
    assert!(cancelled.iter().all(|job| job["workerId"] == ""), "none was started: {cancelled:?}");
    setup.open("it");
    assert_eq!(gated.ended(&running).await["status"], "COMPLETED");
    listed("COMPLETED", 2).await;
}

#[tokio::test]
async fn a_running_job_stops_with_the_client_of_run_sync_and_goes_on_without_that_of_runsync() {
    let setup = Setup::new();
    for (worker, function, path, status) in [
        ("cancelled", "wait_for_cancel", "/waits/wait_for_cancel/run_sync", "CANCELLED"),
        ("purged", "wait_for_purge", "/v2/purged/runsync", "COMPLETED"),
    ] {
        let endpoint = setup.endpoint(worker);
        let file = json!({ "file": setup.gate(worker) });
        let body = if path.starts_with("/v2/") { json!({ "input": file }) } else { file };
        let request = endpoint.client.raw().post(setup.app.url.clone() + path).json(&body);
        let client = tokio::spawn(async move { request.send().await.map(drop) });
        let only = async |wanted: &str| {
            until(&format!("{function} to be {wanted}"), PATIENCE, async || {
                let jobs = endpoint.listed("").await;
                if jobs.len() == 1 && jobs[0]["status"] == wanted { Ok(()) } else { Err(format!("{jobs:?}")) }
            })
            .await;
        };
        only("IN_PROGRESS").await;
        client.abort();
        if status == "CANCELLED" {
            only(status).await;
        }
        setup.open(worker);
        only(status).await;
    }
}

#[tokio::test]
async fn the_header_names_a_request_and_no_name_in_a_body_is_longer_than_one() {
    let setup = Setup::new();
    let echo = setup.endpoint("echo");
    let long = "x".repeat(2_000_000);
    let body = |request_id: &str| {
        let envelope = json!({ "request_id": request_id, "traceparent": long, "function": "echo" });
        json!({ "input": { "value": 1, "__flash": envelope } })
    };
    let send = async |header: Option<&str>, id: &str| {
        let request = echo.client.raw().post(format!("{}/run", echo.url)).json(&body(id));
        let request = header.into_iter().fold(request, |request, id| request.header("x-request-id", id));
        let answer = echo.client.send(request).await;
        echo.ended(&id_of(&answer)).await;
        answer
    };
    for (header, in_body, expected) in
        [(Some("head"), "body", Some("head")), (None, "body", Some("body")), (None, long.as_str(), None)]
    {
        let answer = send(header, in_body).await;
        let expected = expected.unwrap_or_else(|| answer.header("x-request-id"));
        let listed = echo.listed(&format!("requestId={expected}")).await;
        assert_eq!((listed.len(), &listed[0]["id"]), (1, &json!(id_of(&answer))), "{expected}");
    }
    let unknown = json!({ "input": { "value": 1, "__flash": { "function": long } } });
    let refused = echo.post("run", unknown).await;
    assert_eq!((refused.status, refused.text.len() < 1000), (422, true), "{} bytes", refused.text.len());
    let log = setup.app.stderr();
    assert!(log.lines().all(|line| line.len() < 1000), "a line of the log grew with a client's name");
}

#[tokio::test]
async fn what_jobs_hold_is_in_the_metrics_and_given_back() {
    let setup = Setup::new();
    let gated = setup.endpoint("gated");
    let held = async || gated.get("metrics").await.json()["memory"]["heldBytes"].as_u64().unwrap();
    let running = gated.run(json!({ "input": { "file": setup.gate("it") } })).await;
    gated.until(&running, is_running).await;
    let before = held().await;
    let config = json!({ "accessId": "x".repeat(4_000_000) });
    for _ in 0..3 {
        gated.run(json!({ "input": { "file": setup.gate("it") }, "s3Config": config })).await;
    }
    let memory = gated.get("metrics").await.json()["memory"].clone();
    assert!(memory["heldBytes"].as_u64().unwrap() >= before + 12_000_000, "{memory}");
    assert!((100_000_000..=2_147_483_648).contains(&memory["limitBytes"].as_u64().unwrap()), "{memory}");
    gated.post("purge-queue", json!({})).await;
    let after = held().await;
    assert!(after < before + 10_000, "{before} bytes before, {after} after");
    setup.open("it");
}

#[tokio::test]
async fn an_idempotency_key_is_one_job() {
    let setup = Setup::new();
    let gated = setup.endpoint("gated");
    let body = |gate: &str| json!({ "input": { "file": setup.gate(gate) } });
    let key = "order-7";
    let first = gated.run_with_key(key, &body("it")).await;
    assert_eq!(first.header("idempotent-replayed"), "");
    let job = id_of(&first);
    gated.until(&job, is_running).await;
    for (status, open) in [("IN_PROGRESS", true), ("COMPLETED", false)] {
        let again = gated.run_with_key(key, &body("it")).await;
        assert_eq!(again.header("idempotent-replayed"), "true");
        assert_eq!(again.json(), json!({ "id": job, "status": status }));
        if open {
            setup.open("it");
            gated.ended(&job).await;
        }
    }
    let other = gated.run_with_key(key, &body("something else")).await;
    assert_eq!(other.status, 409, "{other:?}");
    assert!(other.json()["error"].as_str().unwrap().contains(&job), "{other:?}");
    // Another endpoint has keys of its own.
    let elsewhere = setup.endpoint("echo").run_with_key(key, &json!({ "input": { "value": 1 } })).await;
    assert_eq!((elsewhere.status, elsewhere.header("idempotent-replayed")), (200, ""));
    assert_ne!(id_of(&elsewhere), job);
    let mut wrong = vec![String::new(), "k".repeat(256), "with space".to_owned()];
    for key in wrong.drain(..) {
        let refused = gated.run_with_key(&key, &body("it")).await;
        assert_eq!(refused.status, 400, "{key}: {refused:?}");
    }
    // Many at once.
    let echo = setup.endpoint("echo");
    let many = (0..32).map(|_| {
        let echo = echo.clone();
        tokio::spawn(async move { echo.run_with_key("one", &json!({ "input": { "value": 2 } })).await })
    });
    let mut ids = Vec::new();
    for answer in futures_util::future::join_all(many).await {
        ids.push(id_of(&answer.unwrap()));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

#[tokio::test]
async fn a_purge_ends_what_waits_and_nothing_else() {
    let setup = Setup::new();
    let purged = setup.endpoint("purged");
    let body = || json!({ "input": { "file": setup.gate("it") } });
    let running = purged.run(body()).await;
    purged.until(&running, is_running).await;
    let waiting = [purged.run(body()).await, purged.run(body()).await];
    let answer = purged.post("purge-queue", json!({})).await;
    assert_eq!(answer.json(), json!({ "removed": 2, "status": "completed" }), "{answer:?}");
    for job in &waiting {
        assert_eq!(purged.status(job).await["status"], "CANCELLED");
    }
    setup.open("it");
    assert_eq!(purged.ended(&running).await["status"], "COMPLETED");
    let again = purged.post("purge-queue", json!({})).await;
    assert_eq!(again.json()["removed"], 0);
    // Nobody wanted their results: they have not failed.
    let jobs = purged.get("health").await.json()["jobs"].clone();
    assert_eq!((&jobs["completed"], &jobs["failed"]), (&json!(1), &json!(0)), "{jobs}");
}

#[tokio::test]
async fn metrics_have_jobs_workers_and_the_ids_of_the_ready() {
    let setup = Setup::new();
    let counted = setup.endpoint("counted");
    let before = counted.get("metrics").await.json();
    let jobs = |in_progress: u64, in_queue: u64, completed: u64| {
        let (failed, retried) = (0, 0);
        json!({
            "completed": completed, "failed": failed, "inProgress": in_progress, "inQueue": in_queue,
            "retried": retried,
        })
    };
    assert_eq!((&before["jobs"], &before["readyWorkers"]), (&jobs(0, 0, 0), &json!([])));
    let body = || json!({ "input": { "file": setup.gate("it") } });
    let running = counted.run(body()).await;
    let worker = counted.until(&running, is_running).await["workerId"].clone();
    let waiting = counted.run(body()).await;
    let busy = counted.get("metrics").await.json();
    assert_eq!((&busy["jobs"], &busy["readyWorkers"]), (&jobs(1, 1, 0), &json!([worker])));
    for (state, count) in
        [("idle", 0), ("initializing", 0), ("ready", 1), ("running", 1), ("throttled", 0), ("unhealthy", 0)]
    {
        assert_eq!(busy["workers"][state], count, "{state}: {busy}");
    }
    setup.open("it");
    counted.ended(&running).await;
    counted.ended(&waiting).await;
    let after = counted.get("metrics").await.json();
    assert_eq!((&after["jobs"], &after["workers"]["idle"]), (&jobs(0, 0, 2), &json!(1)), "{after}");
}

#[tokio::test]
async fn a_webhook_is_signed_and_tried_three_times() {
    let setup = Setup::new();
    let (echo, receiver) = (setup.endpoint("echo"), Receiver::refusing().await);
    let input = json!({ "value": "näh" });
    let job = echo.run(json!({ "input": input, "webhook": receiver.url })).await;
    let tries = receiver.received(3).await;
    let pauses = [tries[1].at - tries[0].at, tries[2].at - tries[0].at];
    for (pause, least) in pauses.iter().zip([5, 20]) {
        let least = Duration::from_secs(least);
        assert!(*pause >= least && *pause < least + SOON, "{pauses:?}");
    }
    for delivery in &tries {
        assert!(delivery.is_signed_with(WEBHOOK_SECRET), "{delivery:?}");
        assert!(!delivery.is_signed_with("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
        assert_eq!(delivery.header("webhook-id"), tries[0].header("webhook-id"), "each try has the same id");
        let mut told = delivery.json();
        let extra = (told["input"].take(), told["webhook"].take());
        assert_eq!(extra, (input.clone(), json!(receiver.url)));
        let told = told.as_object_mut().unwrap();
        told.retain(|name, _| name != "input" && name != "webhook");
        assert_eq!(json!(told), echo.status(&job).await, "the rest is the status");
    }
    let given_up = setup.app.event("log", |line| line["text"].as_str().unwrap().contains("gave up after 3"));
    assert!(!given_up.to_string().contains("hidden"), "no token in the log: {given_up}");
    // What comes after is not held up.
    receiver.accept();
    let next = echo.run(json!({ "input": { "value": 2 }, "webhook": receiver.url })).await;
    let deliveries = receiver.received(4).await;
    assert_eq!((deliveries.len(), &deliveries[3].json()["id"]), (4, &json!(next)));
    assert_ne!(deliveries[3].header("webhook-id"), tries[0].header("webhook-id"));
}

/// Memory of a process, in bytes.
fn memory(process: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_idle_polls_cost_little_and_hold_nobody_up() {
    /// As many as the limit of open files allows, up to this.
    const POLLS: u64 = 5_000;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // `flash` inherits it.
    setrlimit(Resource::RLIMIT_NOFILE, soft.max(hard.min(20_000)), hard).unwrap();
    let allowed = getrlimit(Resource::RLIMIT_NOFILE).unwrap().0;
    // Two files for each connection, and a quarter for all else.
    let polls = POLLS.min((allowed * 3 / 8).saturating_sub(50));
    assert!(polls >= 300, "{allowed} open files are too few to see anything");

    let setup = Setup::new();
    let (gated, echo) = (setup.endpoint("gated"), setup.endpoint("echo"));
    let job = gated.run(json!({ "input": { "file": setup.gate("it") } })).await;
    gated.until(&job, is_running).await;
    let warm = echo.run(json!({ "input": { "value": 0 } })).await;
    echo.ended(&warm).await;
    let before = memory(setup.app.id());
    let address = setup.app.url.strip_prefix("http://").unwrap().replace("localhost", "127.0.0.1");
    let mut held = Vec::new();
    for _ in 0..polls {
        let mut connection = tokio::net::TcpStream::connect(&address).await.unwrap();
        let request = format!("GET /v2/gated/stream/{job}?wait=90000 HTTP/1.1\r\nhost: {address}\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        held.push(connection);
    }
    let opened = Instant::now();
    let mut slowest = Duration::ZERO;
    for number in 0..50 {
        let began = Instant::now();
        let job = echo.run(json!({ "input": { "value": number } })).await;
        assert_eq!(echo.get(&format!("status-sync/{job}")).await.json()["output"]["value"], number);
        slowest = slowest.max(began.elapsed());
    }
    let grown = memory(setup.app.id()).saturating_sub(before);
    println!("{polls} polls: {} MB, the slowest job beside them {slowest:?}", grown / 1_000_000);
    // Each has a connection with buffers for both ways.
    assert!(grown < polls * 60_000, "{grown} bytes for {polls} polls");
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    // All of them hear of the end, and none before.
    assert!(opened.elapsed() < Duration::from_secs(60), "the machine is too slow: the polls may be over");
    let mut piece = [0; 16];
    for connection in &held {
        assert!(connection.try_read(&mut piece).is_err(), "answered too early");
    }
    setup.open("it");
    for mut connection in held {
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let count = connection.read_buf(&mut answer).await.unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&answer));
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"COMPLETED\""), "{answer}");
    }
}
