//! Worker types that are programs of their own: `[workers.NAME]` in `flash.toml`.
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    Client, PATIENCE, Running, SOON, copy_of_fixture, crate_of, finish, is_alive, root, wait_for,
};

const WORKER: &str = include_str!("command_workers/worker.py");
const SERVER: &str = include_str!("command_workers/server.py");

/// An app without functions, but for what `flash.toml` says.
const EMPTY_APP: &str = "#[flash_sdk::main]\nasync fn main() {}\n";

fn app(name: &str, flash_toml: &str) -> TempDir {
    let files = [
        ("src/main.rs", EMPTY_APP),
        ("flash.toml", flash_toml),
        ("worker.py", WORKER),
        ("server.py", SERVER),
    ];
    crate_of(name, &files)
}

fn start(directory: &TempDir, arguments: &[&str]) -> Running {
    let target = root().join("target");
    Running::start_with(directory.path(), arguments, &[("CARGO_TARGET_DIR", target.to_str().unwrap())])
}

async fn runsync(client: &Client, app: &Running, worker: &str, input: Value) -> Value {
    let answer = client.post(format!("{}/v2/{worker}/runsync", app.url), json!({ "input": input })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

const CAPTIONER: &str = r#"
[workers.captioner]
command = ["python3", "-u", "worker.py", "first"]
env = { GREETING = "hi", RUNPOD_SKIP_GPU_CHECK = "false" }
"#;

#[tokio::test]
async fn a_program_with_the_worker_protocol_serves_jobs_as_they_were_sent() {
    let directory = app("command-queue", CAPTIONER);
    let app = start(&directory, &[]);
    let client = Client::new();
    for input in [
        json!({}),
        json!({ "a": [1, { "b": null }], "z": 18_446_744_073_709_551_615_u64 }),
        json!({ "__flash": { "function": "x" } }),
        json!([1]),
        json!("text"),
    ] {
        let job = runsync(&client, &app, "captioner", input.clone()).await;
        assert_eq!(job["status"], "COMPLETED", "{job}");
        assert_eq!(job["output"], json!({ "input": input, "arguments": ["first"] }));
    }

    // What it prints while it has one job belongs to that job's request.
    let request = client.raw().post(format!("{}/v2/captioner/run", app.url)).header("x-request-id", "r-7");
    let accepted = client.send(request.body(r#"{"input":{"picture":1}}"#)).await.json();
    let line = app.event("log", |line| line["request_id"] == "r-7" && line["stream"] == "stdout");
    assert_eq!((&line["text"], &line["worker_type"]), (&json!("captioning"), &json!("captioner")));
    let status = format!("{}/v2/captioner/status/{}", app.url, accepted["id"].as_str().unwrap());
    app.event("log", |line| line["request_id"] == "r-7" && line["stream"] == "system");
    assert_eq!(client.get(status).await.json()["output"]["input"], json!({ "picture": 1 }));

    // What it fails with is its message, not the JSON around it.
    let failed = runsync(&client, &app, "captioner", json!({ "do": "fail" })).await;
    assert_eq!(failed["status"], "FAILED");
    assert!(failed["error"].as_str().unwrap().contains("no such picture"), "{failed}");

    let ready = app.event("ready", |_| true);
    assert_eq!(
        ready["endpoints"],
        json!([{
            "method": "POST",
            "path": "/v2/captioner/runsync",
            "function": "python3 -u worker.py first",
            "worker": "captioner",
            "compute": "CPU cpu3c-1-2",
            "workers": "0..=3",
            "curl": format!(
                "curl -X POST {}/v2/captioner/runsync -H 'content-type: application/json' -d '{{\"input\":{{}}}}'",
                app.url
            ),
        }])
    );
    let paths = client.get(format!("{}/openapi.json", app.url)).await.json()["paths"].clone();
    assert_eq!(paths["/v2/captioner/runsync"]["post"]["tags"], json!(["captioner"]));
    assert!(paths["/v2/captioner/health"]["get"].is_object(), "{paths}");
}

#[tokio::test]
async fn a_program_finds_the_protocol_in_its_environment_and_ends_with_flash() {
    let directory = app("command-environment", CAPTIONER);
    std::fs::write(directory.path().join(".env"), "GREETING=overridden\nFROM_DOTENV=yes\n").unwrap();
    let app = start(&directory, &[]);
    let job = runsync(&Client::new(), &app, "captioner", json!({ "do": "environment" })).await;
    let output = &job["output"];
    assert_eq!(output["directory"], directory.path().canonicalize().unwrap().to_str().unwrap());
    let variables = output["variables"].as_object().unwrap();
    let variable = |name: &str| variables.get(name).and_then(Value::as_str).unwrap_or_default();
    let id = job["workerId"].as_str().unwrap();
    let base = format!("{}/v2/captioner", app.url.replace("localhost", "127.0.0.1"));
    for (name, value) in [
        ("RUNPOD_WEBHOOK_GET_JOB", format!("{base}/job-take/$ID?gpu=")),
        ("RUNPOD_WEBHOOK_POST_OUTPUT", format!("{base}/job-done/$RUNPOD_POD_ID/$ID?gpu=")),
        ("RUNPOD_WEBHOOK_POST_STREAM", format!("{base}/job-stream/$RUNPOD_POD_ID/$ID?gpu=")),
        ("RUNPOD_WEBHOOK_PING", format!("{base}/ping/$RUNPOD_POD_ID?gpu=")),
        ("RUNPOD_PING_INTERVAL", "4000".to_owned()),
        ("RUNPOD_POD_ID", id.to_owned()),
        ("RUNPOD_POD_HOSTNAME", id.to_owned()),
        ("RUNPOD_ENDPOINT_ID", "captioner".to_owned()),
        ("RUNPOD_ENDPOINT_BASE_URL", base.replace("/captioner", "")),
        ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "true".to_owned()),
        ("RUNPOD_SKIP_GPU_CHECK", "false".to_owned()),
        ("GREETING", "hi".to_owned()),
        ("FROM_DOTENV", "yes".to_owned()),
    ] {
        assert_eq!(variable(name), value, "{name}");
    }
    assert!(variable("RUNPOD_AI_API_KEY").len() >= 32, "a key of its own");
    let ours: Vec<_> = variables.keys().filter(|name| name.starts_with("FLASH_")).collect();
    assert!(ours.is_empty(), "{ours:?}");

    let program = i32::try_from(output["pid"].as_i64().unwrap()).unwrap();
    assert!(is_alive(program));
    app.signal(Signal::SIGTERM);
    assert!(app.wait().success());
    assert!(!is_alive(program));
}

#[tokio::test]
async fn a_program_that_crashes_or_is_not_there_is_reported_with_its_last_words() {
    let settings = format!("{CAPTIONER}\n[workers.missing]\ncommand = [\"./no-such-program\"]\n");
    let directory = app("command-crash", &settings);
    let app = start(&directory, &[]);
    let client = Client::new();
    let failed = runsync(&client, &app, "captioner", json!({ "do": "crash" })).await;
    assert_eq!(failed["status"], "FAILED");
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("exit code 3") && error.contains("out of cheese"), "{error}");
    app.event("log", |line| line["stream"] == "stderr" && line["text"] == "out of cheese");
    let after = runsync(&client, &app, "captioner", json!({})).await;
    assert_eq!(after["status"], "COMPLETED", "the next job has a new worker: {after}");

    let failed = runsync(&client, &app, "missing", json!({})).await;
    let error = failed["error"].as_str().unwrap();
    let program = directory.path().canonicalize().unwrap().join("no-such-program");
    let expected = format!("could not start `{}`: No such file or directory", program.display());
    assert!(error.contains(&expected), "{error}");
}

#[tokio::test]
async fn a_saved_command_or_program_goes_live_and_a_mistake_keeps_the_old_one() {
    let directory = app("command-reload", CAPTIONER);
    let app = start(&directory, &[]);
    let client = Client::new();
    let before = runsync(&client, &app, "captioner", json!({})).await;
    assert_eq!(before["output"]["arguments"], json!(["first"]));

    let save = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let reloads = |ok: bool| app.count("reload", |event| event["ok"] == ok);
    save("flash.toml", &CAPTIONER.replace("first", "second"));
    app.event_within("reload", PATIENCE, |event| event["ok"] == true);
    let after = runsync(&client, &app, "captioner", json!({})).await;
    assert_eq!(after["output"]["arguments"], json!(["second"]));

    save("flash.toml", &CAPTIONER.replace("command", "comand"));
    let failed = app.event_within("reload", PATIENCE, |event| event["ok"] == false);
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("flash.toml:3: unknown field `comand`"), "{error}");
    let kept = runsync(&client, &app, "captioner", json!({})).await;
    assert_eq!(kept["output"]["arguments"], json!(["second"]));

    save("worker.py", &WORKER.replace("\"input\": job_input", "\"given\": job_input"));
    save("flash.toml", &CAPTIONER.replace("first", "second"));
    wait_for("the second reload", PATIENCE, || match reloads(true) {
        2.. => Ok(()),
        count => Err(format!("{count} reloads; {}", app.stderr())),
    });
    let newest = runsync(&client, &app, "captioner", json!({ "a": 1 })).await;
    assert_eq!(newest["output"]["given"], json!({ "a": 1 }), "{newest}");
}

#[test]
fn a_mistake_ends_the_start_with_its_place() {
    let directory = app("command-mistake", "[workers.captioner]\ncommand = [\"x\"]\nidle_timeout = 0\n");
    let run = finish(&["run", "."], directory.path());
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    let expected = "flash.toml:3: `idle_timeout` is 0; expected 1 to 3600";
    assert!(run.stderr.contains(expected), "{}", run.stderr);
}

#[tokio::test]
async fn a_rust_function_calls_a_program_beside_its_own_worker_types() {
    let directory = copy_of_fixture("command-calls");
    std::fs::write(directory.path().join("worker.py"), WORKER).unwrap();
    std::fs::write(directory.path().join("flash.toml"), CAPTIONER).unwrap();
    let app = start(&directory, &[]);
    let client = Client::new();
    let call = async |input: Value| {
        let request = client.raw().post(format!("{}/caption", app.url)).header("x-request-id", "r-9");
        client.send(request.header("content-type", "application/json").body(input.to_string())).await
    };
    let answer = call(json!({ "picture": "cat.jpg" })).await;
    let expected = json!({ "input": { "picture": "cat.jpg" }, "arguments": ["first"] });
    assert_eq!((answer.status, answer.json()), (200, expected));
    app.event("log", |line| line["worker_type"] == "captioner" && line["request_id"] == "r-9");

    let failed = call(json!({ "do": "fail" })).await;
    let body = failed.json();
    assert_eq!((failed.status, &body["stage"]), (500, &json!("captioner")));
    assert!(body["error"].as_str().unwrap().contains("no such picture"), "{body}");
    assert!(body["worker_id"].as_str().unwrap().starts_with("captioner-"), "{body}");

    // The app's own worker types are beside it as ever.
    let greeting = client.post(format!("{}/greet", app.url), json!({ "name": "x" })).await;
    assert_eq!(greeting.json()["greeting"], "one: hello x");

    // A name that the app has is refused, and the old version keeps serving.
    std::fs::write(directory.path().join("flash.toml"), CAPTIONER.replace("captioner", "greeter")).unwrap();
    let clash = app.event_within("reload", PATIENCE, |event| event["ok"] == false);
    let error = clash["error"].as_str().unwrap();
    assert!(error.contains("flash.toml:2: the app already has a worker type `greeter`"), "{error}");
    assert_eq!(call(json!({})).await.status, 200);
}

const GALLERY: &str = r#"
[workers.gallery]
kind = "load_balanced"
command = ["python3", "-u", "server.py"]
workers = "0..=1"
idle_timeout = 60
env = { HEALTH_CHECK_PATH = "/healthz" }
"#;

#[tokio::test]
async fn a_program_that_serves_http_gets_every_request_below_its_name() {
    let directory = app("command-http", GALLERY);
    let app = start(&directory, &[]);
    let client = Client::new();
    let url = format!("{}/gallery", app.url);
    let first = client.get(&url).await.json();
    assert_eq!((&first["method"], &first["path"]), (&json!("GET"), &json!("/")));
    for (method, path) in
        [("POST", "/a/b%20c?d=e&f"), ("PUT", "/"), ("DELETE", "/x//y"), ("PATCH", "/v2/run")]
    {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer =
            client.send(client.raw().request(method.clone(), format!("{url}{path}")).body("hello")).await;
        let seen = answer.json();
        assert_eq!((&seen["method"], &seen["path"]), (&json!(method.as_str()), &json!(path)));
        assert_eq!((&seen["body"], &seen["pid"]), (&json!("hello"), &first["pid"]));
    }
}

#[tokio::test]
async fn an_unhealthy_server_is_replaced() {
    let directory = app("command-unhealthy", GALLERY);
    let app = start(&directory, &[]);
    let client = Client::new();
    let broken = client.get(format!("{}/gallery/break", app.url)).await.json();
    app.event("log", |line| {
        line["text"]
            == "unhealthy, replacing it: /healthz answered 500 Internal Server Error, expected 200 (3 times in a \
                row)"
    });
    let next = client.get(format!("{}/gallery/", app.url)).await.json();
    assert_ne!(next["pid"], broken["pid"]);
    let old = i32::try_from(broken["pid"].as_i64().unwrap()).unwrap();
    wait_for("the end of the unhealthy one", SOON, || {
        if is_alive(old) { Err("still runs") } else { Ok(()) }.map_err(str::to_owned)
    });
}
