//! `flash run` on the fixture app: what it serves, what bad input gets, how workers come and go.
use std::time::Duration;

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{self, Client, PATIENCE, Running, SOON, crate_of, fixture, is_alive, root, wait_for};

#[tokio::test]
async fn a_queue_function_answers_with_its_job() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let answer =
        client.post(format!("{}/jobs/run_sync", app.url), json!({ "name": "bob", "times": 2 })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let job = answer.json();
    assert_eq!((&job["status"], &job["output"]), (&json!("COMPLETED"), &json!("one: hello bob bob")));
    assert!(job["id"].is_string() && job["workerId"].as_str().unwrap().starts_with("greeter-"), "{job}");
    assert!(job["delayTime"].is_u64() && job["executionTime"].is_u64(), "{job}");

    let wrapped = json!({ "input": { "name": "al", "times": 1 } });
    for path in ["/jobs/runsync", "/jobs/greet/runsync", "/v2/greeter/runsync"] {
        let answer = client.post(format!("{}{path}", app.url), wrapped.clone()).await;
        assert_eq!(answer.json()["output"], "one: hello al", "{path}");
    }
    let sum = client.post(format!("{}/jobs/add/run_sync", app.url), json!({ "left": 4 })).await;
    assert_eq!(sum.json()["output"], 4, "an optional argument may be left out");
    let counted = client.post(format!("{}/jobs/count/run_sync", app.url), json!({ "to": 3 })).await;
    assert_eq!(
        counted.json()["output"],
        json!([1, 2, 3]),
        "chunks of a stream, for callers that do not stream"
    );
}

#[tokio::test]
async fn a_route_binds_its_arguments_and_calls_other_workers() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let item = client.get(format!("{}/items/7?verbose=true", app.url)).await;
    assert_eq!(item.json(), json!({ "id": 7, "verbose": true, "version": "one" }));
    assert!(item.header("x-runpod-worker-id").starts_with("web-"), "{item:?}");
    let below_its_name = client.get(format!("{}/web/items/8", app.url)).await;
    assert_eq!(below_its_name.json()["id"], 8);

    let request = client.raw().post(format!("{}/greet", app.url)).header("x-request-id", "my-request");
    let greeted = client.send(request.body(r#"{"name":"bob"}"#)).await;
    assert_eq!(greeted.json(), json!({ "greeting": "one: hello bob", "sum": 5 }));
    assert_eq!(greeted.header("x-request-id"), "my-request");
    // What the other worker printed and logged carries the same request, its name and its id.
    for text in ["greeting bob", "said to bob"] {
        let line = app.event("log", |line| line["text"] == text);
        assert_eq!((&line["request_id"], &line["worker_type"]), (&json!("my-request"), &json!("greeter")));
        assert!(line["worker"].as_str().unwrap().starts_with("greeter-"), "{line}");
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_what_was_expected() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let url = |path: &str| format!("{}{path}", app.url);
    let paths = |answer: &support::Answer| {
        let fields = answer.json()["fields"].as_array().cloned().unwrap_or_default();
        let mut paths: Vec<_> =
            fields.iter().map(|field| field["path"].as_str().unwrap().to_owned()).collect();
        paths.sort();
        paths
    };

    for path in ["/jobs/run_sync", "/jobs/runsync", "/v2/greeter/run", "/v2/greeter/runsync", "/greet"] {
        let broken = client.post_text(url(path), "{\"name\":").await;
        assert_eq!((broken.status, &broken.json()["kind"]), (400, &json!("invalid_input")), "{path}");
        assert!(!broken.json()["request_id"].as_str().unwrap().is_empty(), "{path}");
    }
    let wrong = client.post(url("/jobs/run_sync"), json!({ "name": 7 })).await;
    assert_eq!((wrong.status, paths(&wrong)), (422, vec!["/name".to_owned(), "/times".to_owned()]));
    assert!(wrong.json()["error"].as_str().unwrap().contains("expected string"), "{wrong:?}");
    let wrong = client.post(url("/v2/greeter/run"), json!({ "input": { "name": "x", "times": -1 } })).await;
    assert_eq!((wrong.status, paths(&wrong)), (422, vec!["/times".to_owned()]));
    let missing = client.post(url("/v2/greeter/run"), json!({})).await;
    assert_eq!((missing.status, paths(&missing)), (422, vec!["/input".to_owned()]));
    let route = client.post(url("/greet"), json!({})).await;
    assert_eq!((route.status, paths(&route)), (422, vec!["/name".to_owned()]));
    let own_rule = client.post(url("/greet"), json!({ "name": "" })).await;
    assert_eq!((own_rule.status, paths(&own_rule)), (422, vec!["/name".to_owned()]));
    let parameter = client.get(url("/items/seven")).await;
    assert_eq!((parameter.status, paths(&parameter)), (422, vec!["/id".to_owned()]));

    let unknown = client.get(url("/itms/7")).await;
    assert_eq!(unknown.status, 404);
    assert!(unknown.json()["error"].as_str().unwrap().contains("/items/{id}"), "{unknown:?}");
    let endpoint = client.get(url("/v2/greter/health")).await;
    assert!(endpoint.status == 404 && endpoint.text.contains("`greeter`"), "{endpoint:?}");
    let job = client.get(url("/v2/greeter/status/nope")).await;
    assert!(job.status == 404 && job.text.contains("`nope`"), "{job:?}");
    let operation = client.post(url("/v2/greeter/runn"), json!({})).await;
    assert!(operation.status == 404 && operation.text.contains("`run`"), "{operation:?}");

    let method = client.send(client.raw().delete(url("/items/7"))).await;
    assert_eq!((method.status, method.header("allow")), (405, "GET"));
    let method = client.get(url("/v2/greeter/run")).await;
    assert_eq!((method.status, method.header("allow")), (405, "POST"));

    let beyond =
        client.post(url("/jobs/run_sync"), json!({ "name": "x", "times": 99_999_999_999_u64 })).await;
    assert_eq!((beyond.status, paths(&beyond)), (422, vec!["/times".to_owned()]));
    let wait = client.post(url("/v2/greeter/runsync?wait=soon"), json!({})).await;
    assert!(wait.status == 400 && wait.json()["error"].as_str().unwrap().contains("wait"), "{wait:?}");
    let head = client.send(client.raw().head(url("/items/7"))).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));

    let large = format!("{{\"name\":\"{}\",\"times\":1}}", "x".repeat(20_000_000));
    assert_eq!(client.post_text(url("/jobs/run_sync"), large).await.status, 413);
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(30_000_001));
    assert_eq!(client.post_text(url("/greet"), large).await.status, 413);
    // After all of that it serves as before.
    assert_eq!(client.get(url("/items/7")).await.status, 200);
}

#[tokio::test]
async fn a_failure_names_stage_message_and_request() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let url = |path: &str| format!("{}{path}", app.url);

    let failed = client.post(url("/fail"), json!({ "message": "cannot save" })).await;
    let body = failed.json();
    assert_eq!(
        (failed.status, &body["stage"], &body["kind"]),
        (500, &json!("trouble/fail"), &json!("handler"))
    );
    assert!(body["error"].as_str().unwrap().contains("cannot save: the disk is full"), "{body}");
    assert_eq!(body["request_id"], failed.header("x-request-id"));
    // The log of that stage holds the cause, under the same request.
    app.event("log", |line| {
        line["worker_type"] == "trouble"
            && line["request_id"] == body["request_id"]
            && line["text"].as_str().unwrap().contains("the disk is full")
    });

    let panicked = client.post(url("/trouble/panic_now/run_sync"), json!({ "message": "oh no" })).await;
    let body = panicked.json();
    assert_eq!((panicked.status, &body["kind"], &body["status"]), (500, &json!("panic"), &json!("FAILED")));
    assert!(body["error"].as_str().unwrap().contains("trouble.rs:"), "{body}");
    // The worker lives on: a panic fails a job, not its process.
    let again = client.post(url("/trouble/run_sync"), json!({ "message": "x" })).await;
    assert_eq!(again.json()["worker_id"], body["worker_id"]);

    let late = client.post(url("/sleep"), json!({ "seconds": 30.0 })).await;
    assert_eq!((late.status, &late.json()["stage"]), (504, &json!("sleeper/sleep")), "{late:?}");

    let crashed = client.post(url("/trouble/crash/run_sync"), json!({ "words": "my last words" })).await;
    assert_eq!(crashed.status, 503, "{crashed:?}");
    for part in ["3 attempts", "SIGABRT", "my last words"] {
        assert!(crashed.text.contains(part), "{part}: {crashed:?}");
    }
    // On the queue API a failed job is an ordinary answer, as on Runpod.
    let input = json!({ "input": { "__flash": { "function": "fail" }, "message": "x" } });
    let job = client.post(url("/v2/trouble/runsync"), input).await;
    assert_eq!((job.status, &job.json()["status"]), (200, &json!("FAILED")));
    let error: serde_json::Value = serde_json::from_str(job.json()["error"].as_str().unwrap()).unwrap();
    assert_eq!(error["error_message"], "x: the disk is full");
}

#[tokio::test]
async fn the_queue_api_runs_streams_cancels_and_retries() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let v2 = |worker: &str, rest: &str| format!("{}/v2/{worker}/{rest}", app.url);
    let run = async |worker: &str, input: serde_json::Value| {
        let accepted = client.post(v2(worker, "run"), json!({ "input": input })).await.json();
        assert_eq!(accepted["status"], "IN_QUEUE", "{accepted}");
        accepted["id"].as_str().unwrap().to_owned()
    };
    let ended = async |worker: &str, id: &str| loop {
        let job = client.get(v2(worker, &format!("status/{id}"))).await.json();
        if !["IN_QUEUE", "IN_PROGRESS"].contains(&job["status"].as_str().unwrap()) {
            return job;
        }
    };

    let id = run("greeter", json!({ "name": "al", "times": 1 })).await;
    let job = ended("greeter", &id).await;
    assert_eq!((&job["status"], &job["output"]), (&json!("COMPLETED"), &json!("one: hello al")));

    let id = run("counter", json!({ "to": 4 })).await;
    let (mut chunks, mut status) = (Vec::new(), String::new());
    while status != "COMPLETED" {
        let stream = client.get(v2("counter", &format!("stream/{id}"))).await.json();
        chunks.extend(stream["stream"].as_array().unwrap().iter().map(|chunk| chunk["output"].clone()));
        status = stream["status"].as_str().unwrap().to_owned();
    }
    assert_eq!(chunks, [1, 2, 3, 4].map(|number| json!(number)));
    let drained = client.get(v2("counter", &format!("stream/{id}"))).await.json();
    assert_eq!(drained, json!({ "status": "COMPLETED", "stream": [] }));

    let id = run("sleeper", json!({ "seconds": 600.0 })).await;
    let cancelled = client.post(v2("sleeper", &format!("cancel/{id}")), json!({})).await.json();
    assert_eq!(cancelled, json!({ "id": id, "status": "CANCELLED" }));
    assert_eq!(ended("sleeper", &id).await["status"], "CANCELLED");

    let id = run("sleeper", json!({ "seconds": 600.0 })).await;
    assert_eq!(ended("sleeper", &id).await["status"], "TIMED_OUT");
    let retried = client.post(v2("sleeper", &format!("retry/{id}")), json!({})).await.json();
    assert_eq!(retried, json!({ "id": id, "status": "IN_QUEUE" }));
    assert_eq!(ended("sleeper", &id).await["status"], "TIMED_OUT");

    let health = client.get(v2("greeter", "health")).await.json();
    assert_eq!(health["jobs"]["completed"], 1);
    for key in ["idle", "initializing", "ready", "running", "throttled", "unhealthy"] {
        assert!(health["workers"][key].is_u64(), "{key}: {health}");
    }
}

#[tokio::test]
async fn workers_come_from_zero_and_go_after_the_idle_timeout() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let workers = async || {
        let health = client.get(format!("{}/v2/greeter/health", app.url)).await.json();
        health["workers"]["ready"].as_u64().unwrap() + health["workers"]["initializing"].as_u64().unwrap()
    };
    assert_eq!(workers().await, 0, "min is 0 and nothing was asked");
    client.post(format!("{}/jobs/run_sync", app.url), json!({ "name": "a", "times": 1 })).await;
    assert_eq!(workers().await, 1);
    let gone = tokio::time::timeout(SOON, async { while workers().await > 0 {} }).await;
    gone.expect("idle for its timeout of one second, the worker goes");
    let answer = client.post(format!("{}/jobs/run_sync", app.url), json!({ "name": "b", "times": 1 })).await;
    assert_eq!(answer.status, 200, "and comes back");
}

#[tokio::test]
async fn sixty_four_callers_at_once_are_all_answered() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let caller = async |caller: usize| {
        for call in 0..20 {
            let name = format!("{caller}-{call}");
            let answer = client.post(format!("{}/greet", app.url), json!({ "name": name })).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.json()["greeting"], format!("one: hello {name}"));
        }
    };
    join_all((0..64).map(caller)).await;
}

#[tokio::test]
async fn a_stop_lets_running_work_finish_and_leaves_no_process() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let app = Running::start(&fixture(), &["--no-reload"]);
        let client = Client::new();
        let url = format!("{}/sleep", app.url);
        let running = tokio::spawn(async move { client.post(url, json!({ "seconds": 0.7 })).await });
        let health = format!("{}/v2/sleeper/health", app.url);
        let asking = Client::new();
        let taken = async { while asking.get(&health).await.json()["jobs"]["inProgress"] != 1 {} };
        tokio::time::timeout(SOON, taken).await.expect("the job runs");
        let processes = app.descendants();
        assert!(processes.len() >= 3, "lifeline and two workers: {processes:?}");
        app.signal(signal);
        let answer = running.await.unwrap();
        assert_eq!(answer.status, 200, "work that ran when the signal came finishes: {answer:?}");
        let stderr = app.stderr();
        let status = tokio::task::spawn_blocking(move || app.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert!(!processes.iter().any(|id| is_alive(*id)), "left behind: {processes:?}");
    }
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let app = Running::start(&fixture(), &["--no-reload", "--drain-seconds", "600"]);
    let client = Client::new();
    let url = format!("{}/v2/adder/run", app.url);
    client.post(url, json!({ "input": { "left": 1 } })).await;
    let waiting = tokio::spawn({
        let url = format!("{}/sleep", app.url);
        async move { client.raw().post(url).body(r#"{"seconds":600}"#).send().await.map(|answer| answer.status()) }
    });
    let asking = Client::new();
    let health = format!("{}/v2/sleeper/health", app.url);
    while asking.get(&health).await.json()["jobs"]["inProgress"] != 1 {}
    let processes = app.descendants();
    app.signal(Signal::SIGTERM);
    wait_for("the first signal to be seen", SOON, || {
        if app.stderr().contains("Stopping") { Ok(()) } else { Err(app.stderr()) }
    });
    app.signal(Signal::SIGINT);
    let status = tokio::task::spawn_blocking(move || app.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    waiting.abort();
    wait_for("the end of all processes", SOON, || {
        let left: Vec<_> = processes.iter().filter(|id| is_alive(**id)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[tokio::test]
async fn not_even_a_killed_flash_leaves_a_process() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    client.post(format!("{}/greet", app.url), json!({ "name": "a" })).await;
    let processes = app.descendants();
    assert!(processes.len() >= 4, "lifeline, web, greeter and adder: {processes:?}");
    app.signal(Signal::SIGKILL);
    wait_for("the end of all processes", SOON, || {
        let left: Vec<_> = processes.iter().filter(|id| is_alive(**id)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[tokio::test]
async fn a_killed_worker_is_replaced_and_its_job_runs_again() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let before = app.descendants();
    let url = format!("{}/trouble/sleep/run_sync", app.url);
    let job = tokio::spawn({
        let client = client.clone();
        async move { client.post(url, json!({ "seconds": 0.5 })).await }
    });
    let health = format!("{}/v2/sleeper/health", app.url);
    while client.get(&health).await.json()["jobs"]["inProgress"] != 1 {}
    let worker =
        app.descendants().into_iter().find(|id| !before.contains(id)).expect("the sleeper's process");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    let answer = job.await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["retries"], 1);
    assert_ne!(answer.json()["output"], worker, "another process ran it");
}

#[tokio::test]
async fn a_computation_that_nothing_interrupts_is_ended_with_its_process() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let url = format!("{}/trouble/spin/run_sync", app.url);
    let before = app.descendants();
    let late = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move { client.post(url, json!({ "seconds": 600 })).await }
    });
    let health = format!("{}/v2/spinner/health", app.url);
    while client.get(&health).await.json()["jobs"]["inProgress"] != 1 {}
    let spinner =
        app.descendants().into_iter().find(|id| !before.contains(id)).expect("the spinner's process");
    assert_eq!(late.await.unwrap().status, 504);
    // The only slot is not free before the process is gone: the next job runs in another one.
    let next = client.post(url, json!({ "seconds": 0 })).await;
    assert_eq!(next.status, 200, "{next:?}");
    assert_ne!(next.json()["output"], spinner);
    assert!(!is_alive(spinner));
}

#[tokio::test]
async fn a_result_over_the_limit_fails_its_job_and_not_its_worker() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let client = Client::new();
    let url = format!("{}/trouble/long/run_sync", app.url);
    let large = client.post(&url, json!({ "characters": 40_000_000 })).await;
    assert_eq!((large.status, &large.json()["kind"]), (500, &json!("encode")), "{:.300}", large.text);
    let small = client.post(&url, json!({ "characters": 3 })).await;
    assert_eq!(
        (&small.json()["output"], &small.json()["workerId"]),
        (&json!("xxx"), &large.json()["worker_id"])
    );
}

#[tokio::test]
async fn the_api_description_is_valid_and_has_schemas_and_comments() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let answer = Client::new().get(format!("{}/openapi.json", app.url)).await;
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    let schema = include_str!("../data/openapi-3.1.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let problems: Vec<_> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
    assert!(problems.is_empty(), "{problems:#?}");

    let greet = &document["paths"]["/jobs/run_sync"]["post"];
    assert_eq!(greet["summary"], "Greets somebody.");
    let body = &greet["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(body["$ref"], "#/components/schemas/Greeting");
    assert_eq!(document["components"]["schemas"]["Greeting"]["properties"]["name"]["description"], "Whom.");
    let item = &document["paths"]["/items/{id}"]["get"];
    assert_eq!(item["parameters"][0]["in"], "path");
    assert_eq!(item["parameters"][1]["required"], false);
}

#[tokio::test]
async fn a_port_in_use_is_said_and_only_a_default_one_is_replaced() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let directory = fixture();
    let run = support::finish(&["run", directory.to_str().unwrap(), "--port", &port], &root());
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains(&format!("cannot bind localhost:{port}")), "{}", run.stderr);
    let holder = format!("(process {})", std::process::id());
    assert!(run.stderr.contains(&holder), "who holds it: {}", run.stderr);
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
}

#[tokio::test]
async fn an_ipv6_address_serves_or_is_refused_where_there_is_none() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        let directory = fixture();
        let run = support::finish(&["run", directory.to_str().unwrap(), "--host", "::1"], &root());
        assert!(run.code == Some(1) && run.stderr.contains("cannot bind"), "{}", run.stderr);
        return;
    }
    let app = Running::start(&fixture(), &["--no-reload", "--host", "::1"]);
    assert!(app.url.starts_with("http://[::1]:"), "{}", app.url);
    let greeted = Client::new().post(format!("{}/greet", app.url), json!({ "name": "six" })).await;
    assert_eq!(greeted.json()["greeting"], "one: hello six");
}

#[test]
fn a_host_that_is_not_ours_is_refused() {
    let directory = fixture();
    let run =
        support::finish(&["run", directory.to_str().unwrap(), "--host", "no.such.host.invalid"], &root());
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("`no.such.host.invalid`"), "{}", run.stderr);
}

#[tokio::test]
async fn a_reader_of_the_log_that_pauses_stops_nothing() {
    let directory = fixture();
    let mut child =
        support::flash(&["run", directory.to_str().unwrap(), "--json", "--port", "0", "--no-reload"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
    // Read up to the first event and never again: the pipe holds 64 KiB.
    let mut stdout = std::io::BufReader::with_capacity(1, child.stdout.take().unwrap());
    let url = loop {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        if event["event"] == "ready" {
            break event["url"].as_str().unwrap().to_owned();
        }
    };
    let client = Client::new();
    let name = "x".repeat(200);
    for _ in 0..300 {
        let answer = client.post(format!("{url}/jobs/run_sync"), json!({ "name": name, "times": 1 })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM)
        .unwrap();
    wait_for("its end", SOON, || child.try_wait().unwrap().map(drop).ok_or_else(|| "still runs".to_owned()));
    drop(stdout);
}

/// What a person sees without `--json`: the table on stdout, copyable commands, nothing in colour.
#[test]
fn the_table_is_greppable_and_its_curls_work() {
    let directory = fixture();
    let mut child = support::flash(&["run", directory.to_str().unwrap(), "--port", "0", "--no-reload"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stdout));
    let mut table: Vec<String> =
        lines.by_ref().map(Result::unwrap).skip(2).take_while(|line| !line.is_empty()).collect();
    let head = table.remove(0);
    let heads: Vec<&str> = head.split("  ").map(str::trim).filter(|head| !head.is_empty()).collect();
    assert_eq!(heads.join(", "), "method path, function, worker type, compute, workers");
    assert!(!table.iter().any(|line| line.contains('\u{1b}')), "{table:#?}");
    // Reads on, so that the workers' log never fills the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    let curls: Vec<&String> = table.iter().filter(|line| line.trim().starts_with("curl")).collect();
    assert_eq!(curls.len() * 2, table.len(), "{table:#?}");
    for curl in curls.iter().filter(|curl| curl.contains("/jobs/") || curl.contains("/items/")) {
        let command = curl.trim().replacen("curl", "curl -sf --max-time 60", 1);
        let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{curl}: {output:?}");
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGTERM)
        .unwrap();
    wait_for("its end", PATIENCE.min(Duration::from_secs(60)), || {
        child.try_wait().unwrap().map(drop).ok_or_else(|| "still runs".to_owned())
    });
}

/// Types of all kinds, each of which a value must fit.
const ZOO: &str = r##"//! Takes what there is.
use std::collections::{BTreeMap, BTreeSet};

use flash_sdk::{Result, remote};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One of several.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shape {
    /// With another inside.
    Within { inner: Box<Shape>, by: f32 },
    /// Alone.
    Circle { radius: f64 },
}

/// Without a tag.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Either {
    /// A pair.
    Pair(u8, String),
    /// A name.
    Name { name: String },
}

/// All at once.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Zoo {
    letter: char,
    pair: (bool, i64, Option<char>),
    five: [u16; 5],
    shape: Shape,
    either: Either,
    size: Size,
    map: BTreeMap<String, Vec<Shape>>,
    numbered: BTreeMap<u32, String>,
    set: BTreeSet<String>,
    positive: std::num::NonZeroU32,
    #[schemars(range(min = 10, max = 20))]
    bounded: i32,
    #[schemars(length(min = 8))]
    long: String,
    #[schemars(regex(pattern = "^[A-Z]{3}-[0-9]+$"))]
    code: String,
    any: serde_json::Value,
    nothing: (),
    tree: Tree,
    left_out: Option<String>,
}

/// A size.
#[derive(Serialize, Deserialize, JsonSchema)]
pub enum Size {
    /// Not large.
    Small,
    /// In numbers.
    Exact(u32),
}

/// Holds itself.
#[derive(Serialize, Deserialize, JsonSchema)]
pub struct Tree {
    children: Vec<Tree>,
}

/// Gives back what it got.
#[remote(worker = "zoo", cpu = Cpu3c_1_2, workers = 0..=1)]
pub async fn visit(zoo: Zoo) -> Result<Zoo> {
    Ok(zoo)
}

/// Several arguments.
#[remote(worker = "zoo", cpu = Cpu3c_1_2, workers = 0..=1)]
pub async fn several(letter: char, shapes: Vec<Shape>, at: Option<u8>) -> Result<usize> {
    Ok(shapes.len() + usize::from(letter == 'x') + usize::from(at.unwrap_or(0)))
}

/// In the path and the query.
#[remote(worker = "web", cpu = Cpu3c_1_2, workers = 0..=1, method = GET, path = "/cage/{letter}/{number}")]
pub async fn cage(letter: char, number: i16, open: bool, word: String) -> Result<String> {
    Ok(format!("{letter}{number}{open}{word}"))
}

#[flash_sdk::main]
async fn main() -> Result<()> {
    Ok(())
}
"##;

#[test]
fn printed_curls_work_as_printed_whatever_the_types_are_and_with_a_key() {
    let directory = crate_of("printed-app", &[("src/main.rs", ZOO)]);
    let target = root().join("target");
    let environment =
        [("CARGO_TARGET_DIR", target.to_str().unwrap()), ("FLASH_API_KEY", "test-key-of-curls")];
    // As it stands in a URL, where this machine has it.
    let host = std::net::TcpListener::bind("[::1]:0").map_or("127.0.0.1", |_| "[::1]");
    let app = Running::start_with(directory.path(), &["--no-reload", "--host", host], &environment);
    let ready = app.event("ready", |_| true);
    let endpoints = ready["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 3, "{ready}");
    for endpoint in endpoints {
        let curl = endpoint["curl"].as_str().unwrap();
        assert!(!curl.contains("test-key-of-curls"), "the key is in a file: {curl}");
        let command = format!("{curl} -sS --fail-with-body --max-time 60");
        let output = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(output.status.success(), "{curl}: {output:?}\n{}", app.stderr());
    }
}
