//! The stand-in of Runpod's cloud is as the provider's document says, and has the traps of production.
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::support::{
    self, Answer, Client, SOON,
    images::has_engine,
    registry::{DockerRegistry, has_programs},
    runpod::{self, Cloud, Containers, Contract, Fault, KEY, Options},
    until,
};

struct Account<'a> {
    cloud: &'a Cloud,
    client: Client,
}

impl<'a> Account<'a> {
    fn of(cloud: &'a Cloud) -> Self {
        Self { cloud, client: Client::new() }
    }

    async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.client.send(self.request(method, path, body)).await
    }

    fn request(&self, method: &str, path: &str, body: Option<Value>) -> reqwest::RequestBuilder {
        let url = format!("{}{path}", self.cloud.rest_url());
        let request = self.client.raw().request(method.parse().unwrap(), url).bearer_auth(KEY);
        match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        }
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, Some(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call("PATCH", path, Some(body)).await
    }

    async fn made(&self, body: Value) -> Value {
        let answer = self.post("/v2/serverless", body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// The queue host.
    async fn queue(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let url = format!("{}/{path}", self.cloud.queue_url());
        let request = self.client.raw().request(method.parse().unwrap(), url).bearer_auth(KEY);
        let request = request.body(body.map(|body| body.to_string()).unwrap_or_default());
        self.client.send(request).await
    }
}

fn queue(name: &str) -> Value {
    json!({
        "name": name,
        "type": "QUEUE",
        "image": "registry/of/mine:1",
        "cpu": [{ "id": "cpu3g", "vcpuCount": 2 }],
        "scaling": { "type": "QUEUE_DELAY", "queueDelay": 4 },
        "workers": { "min": 1, "max": 3, "idleTimeout": 5 },
        "timeout": 600_000,
        "flashboot": "FLASHBOOT",
    })
}

fn with(mut body: Value, changes: &[(&str, Value)]) -> Value {
    for (field, value) in changes {
        match value {
            Value::Null => drop(body.as_object_mut().unwrap().remove(*field)),
            value => body[*field] = value.clone(),
        }
    }
    body
}

#[test]
fn examples_of_the_document_are_as_it_says() {
    let contract = Contract::read();
    assert_eq!(contract.operation("PATCH", "/v2/serverless/abc").unwrap().template, "/v2/serverless/{id}");
    assert!(contract.operation("PUT", "/v2/serverless/abc").is_none());
    assert!(contract.methods("/v3/serverless").is_none());
    assert_eq!(contract.errors_of("CreateEndpointRequest", &queue("x")), Vec::<String>::new());
    let bogus = with(queue("x"), &[("bogus", json!(1))]);
    let errors = contract.errors_of("CreateEndpointRequest", &bogus);
    assert!(errors.contains(&"$: additional properties 'bogus' not allowed".to_owned()), "{errors:?}");
    let errors = contract.errors_of("CreateEndpointRequest", &with(queue("x"), &[("scaling", Value::Null)]));
    assert!(errors.contains(&"$: missing property 'scaling'".to_owned()), "{errors:?}");
    let balanced = with(queue("x"), &[("type", json!("LOAD_BALANCER"))]);
    assert_ne!(contract.errors_of("CreateEndpointRequest", &balanced), Vec::<String>::new());
}

#[tokio::test]
async fn every_operation_is_answered_as_the_document_says() {
    let cloud = Cloud::start();
    let account = Account::of(&cloud);
    let endpoint = account.made(queue("one")).await;
    let id = endpoint["id"].as_str().unwrap();
    let gpu = with(queue("two"), &[("cpu", Value::Null), ("gpu", json!({ "pools": ["ADA_24"] }))]);
    account.made(gpu).await;
    let balanced = json!({ "type": "REQUEST_COUNT", "requestCount": 4 });
    let balanced = with(queue("three"), &[("type", json!("LOAD_BALANCER")), ("scaling", balanced)]);
    let balanced = account.made(balanced).await;
    assert_eq!(
        balanced["requestUrls"]["base"].as_str().unwrap().split("/lb/").nth(1),
        balanced["id"].as_str()
    );
    let template = json!({ "name": "t", "image": "i", "serverless": true, "env": { "A": "1" } });
    let template = account.post("/v2/templates", template).await.json();
    let template = format!("/v2/templates/{}", template["id"].as_str().unwrap());
    cloud.plant_billing(json!({
        "startTime": "2026-11-01T00:00:00Z", "endTime": "2026-11-02T00:00:00Z", "serverlessId": id,
        "totalAmount": 1.5, "gpuAmount": 0.0, "cpuAmount": 1.0, "diskAmount": 0.5, "feeAmount": 0.0,
    }));
    for path in [
        "/v2/serverless".to_owned(),
        format!("/v2/serverless/{id}"),
        format!("/v2/serverless/{id}/workers"),
        format!("/v2/serverless/{id}/releases"),
        "/v2/templates".to_owned(),
        template.clone(),
        "/v2/catalog/gpus".to_owned(),
        "/v2/catalog/gpus?include=AVAILABILITY&product=SERVERLESS".to_owned(),
        "/v2/catalog/gpus/NVIDIA%20GeForce%20RTX%204090".to_owned(),
        "/v2/catalog/cpus?include=AVAILABILITY&product=SERVERLESS".to_owned(),
        "/v2/catalog/cpus/cpu3g".to_owned(),
        "/v2/catalog/datacenters?include=GPU_AVAILABILITY&include=CPU_AVAILABILITY".to_owned(),
        "/v2/catalog/datacenters/EU-RO-1".to_owned(),
        format!("/v2/billing/serverless?serverlessId={id}&bucketSize=day"),
        "/v2/network-volumes".to_owned(),
        "/v2/registries".to_owned(),
    ] {
        let answer = account.get(&path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.header("ratelimit").contains("\"minute\""), "{path}: {answer:?}");
    }
    assert_eq!(
        account.patch(&template, json!({ "env": { "B": "2" } })).await.json()["env"],
        json!({ "B": "2" })
    );
    assert_eq!(account.call("DELETE", &template, None).await.status, 204);
    assert_eq!(account.call("DELETE", &template, None).await.status, 404);
    assert_eq!(account.call("DELETE", &format!("/v2/serverless/{id}"), None).await.status, 204);
    assert_eq!(account.get(&format!("/v2/serverless/{id}")).await.status, 404);
    assert_eq!(account.get("/v2/catalog/gpus?product=SERVERLESS").await.status, 400);
    cloud.assert_contract_kept();
}

#[tokio::test]
async fn a_caller_who_breaks_the_contract_is_refused_and_told_on() {
    let cloud = Cloud::start();
    let account = Account::of(&cloud);
    let refused = account.post("/v2/serverless", with(queue("x"), &[("workersMax", json!(3))])).await;
    assert_eq!((refused.status, refused.header("content-type")), (422, "application/problem+json"));
    assert_eq!(refused.json()["errors"], json!(["$: additional properties 'workersMax' not allowed"]));
    assert_eq!(cloud.take_violations().len(), 1);
    assert_eq!(account.get("/v2/serverless?bogus=1").await.status, 200, "ignored, and told on");
    assert_eq!(account.call("PUT", "/v2/serverless", None).await.status, 405);
    assert_eq!(account.get("/v2/nothing").await.status, 404);
    assert_eq!(cloud.take_violations().len(), 3);
    let nobody = account.client.get(format!("{}/v2/serverless", cloud.rest_url())).await;
    assert_eq!((nobody.status, &nobody.json()["detail"]), (401, &json!("missing bearer token")));
    let nobody = account.client.get(format!("{}/x/health", cloud.queue_url())).await;
    assert_eq!((nobody.status, &nobody.json()["detail"]), (401, &json!("no token provided")));
    assert_eq!(cloud.endpoints(), Vec::<Value>::new());
    cloud.assert_contract_kept();
}

#[tokio::test]
async fn the_traps_of_production_are_there() {
    let cloud = Cloud::start();
    let account = Account::of(&cloud);
    let bare = with(queue("x"), &[("timeout", Value::Null), ("flashboot", Value::Null)]);
    let one = account.made(bare.clone()).await;
    assert_eq!((&one["timeout"], &one["flashboot"]), (&json!(0), &json!("OFF")));
    let two = account.made(bare).await;
    assert_ne!(one["id"], two["id"], "nothing is idempotent");
    let count = json!({ "type": "REQUEST_COUNT", "requestCount": 1 });
    let refused = account.post("/v2/serverless", with(queue("x"), &[("scaling", count.clone())])).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    let workers = json!({ "min": 0, "max": 3 });
    let counted = account.made(with(queue("x"), &[("scaling", count), ("workers", workers)])).await;
    assert!(counted["workers"].get("idleTimeout").is_none(), "{counted}");
    for changes in [
        ("cpu", Value::Null),
        ("gpu", json!({ "pools": ["ADA_24"] })),
        ("cpu", json!([{ "id": "cpu3g", "vcpuCount": 3 }])),
        ("cpu", json!([{ "id": "cpu9z", "vcpuCount": 2 }])),
        ("dataCenterIds", json!(["MOON-1"])),
    ] {
        let refused = account.post("/v2/serverless", with(queue("x"), std::slice::from_ref(&changes))).await;
        assert_eq!(refused.status, 400, "{changes:?}: {refused:?}");
    }
    let gpu = |gpu: Value| with(queue("g"), &[("cpu", Value::Null), ("gpu", gpu)]);
    for wrong in [
        json!({ "pools": ["ADA_24"], "excludedTypes": ["NVIDIA L4"] }),
        json!({ "pools": ["ADA_24"], "excludedTypes": ["NVIDIA GeForce RTX 4090"] }),
        json!({ "pools": ["ADA_24"], "minCudaVersion": "12.4", "allowedCudaVersions": ["12.8"] }),
    ] {
        assert_eq!(account.post("/v2/serverless", gpu(wrong.clone())).await.status, 400, "{wrong}");
    }
    let made = account.made(gpu(json!({ "pools": ["AMPERE_24"], "excludedTypes": ["NVIDIA L4"] }))).await;
    let path = format!("/v2/serverless/{}", made["id"].as_str().unwrap());
    let after = account.patch(&path, json!({ "gpu": { "count": 2 } })).await.json();
    assert_eq!(after["gpu"]["excludedTypes"], json!(["NVIDIA L4"]), "{after}");
    let after = account.patch(&path, json!({ "gpu": { "pools": ["AMPERE_24"] } })).await.json();
    assert!(after["gpu"].get("excludedTypes").is_none() && after["gpu"]["count"] == 2, "{after}");
    let after = account.patch(&path, json!({ "env": { "B": "2" }, "workers": { "max": 5 } })).await.json();
    assert_eq!(
        (&after["env"], &after["workers"]),
        (&json!({ "B": "2" }), &json!({ "min": 1, "max": 5, "idleTimeout": 5 }))
    );
    let releases = account.get(&format!("{path}/releases")).await.json();
    assert_eq!(
        (&releases["endpointVersion"], releases["releases"].as_array().unwrap().len()),
        (&json!(4), 4)
    );
    account.patch(&path, json!({ "workers": { "max": 6 } })).await;
    let releases = account.get(&format!("{path}/releases")).await.json();
    assert_eq!(releases["endpointVersion"], 4, "scaling is no release");
    assert_eq!(account.patch(&path, json!({ "cpu": [{ "id": "cpu3g", "vcpuCount": 2 }] })).await.status, 400);
    cloud.assert_contract_kept();
}

#[tokio::test]
async fn played_workers_are_ready_after_some_looks_and_those_of_a_broken_image_never() {
    let cloud = Cloud::start();
    let account = Account::of(&cloud);
    cloud.break_image("broken");
    let ready = account.made(queue("x")).await;
    let broken = account.made(with(queue("y"), &[("image", json!("mine/broken:1"))])).await;
    for (endpoint, last) in [(ready, "IDLE"), (broken, "UNHEALTHY")] {
        let path = format!("/v2/serverless/{}/workers", endpoint["id"].as_str().unwrap());
        let mut seen = Vec::new();
        until("a worker that is as it should be", SOON, async || {
            let workers = account.get(&path).await.json()["workers"].clone();
            let status = workers[0]["status"].as_str().unwrap_or("none").to_owned();
            seen.push(status.clone());
            if status == last { Ok(()) } else { Err(status) }
        })
        .await;
        assert!(seen.contains(&"INITIALIZING".to_owned()), "{seen:?}");
    }
    cloud.assert_contract_kept();
}

#[tokio::test]
async fn a_call_breaks_as_it_was_told_to() {
    let cloud = Cloud::start();
    let account = Account::of(&cloud);
    let creates = |call: &runpod::Call| call.method == "POST";
    cloud.fail_next(creates, Fault::Status(503));
    assert_eq!(account.post("/v2/serverless", queue("x")).await.status, 503);
    cloud.fail_next(creates, Fault::TooMany { retry_after: 7 });
    let many = account.post("/v2/serverless", queue("x")).await;
    assert_eq!((many.status, many.header("retry-after")), (429, "7"));
    cloud.fail_next(creates, Fault::Unauthorized);
    assert_eq!(account.post("/v2/serverless", queue("x")).await.status, 401);
    cloud.fail_next(creates, Fault::ResetBefore);
    assert!(account.request("POST", "/v2/serverless", Some(queue("x"))).send().await.is_err());
    assert_eq!(cloud.endpoints().len(), 0);
    cloud.fail_next(creates, Fault::ResetAfter);
    assert!(account.request("POST", "/v2/serverless", Some(queue("x"))).send().await.is_err());
    cloud.fail_next(creates, Fault::StatusAfter(504));
    assert_eq!(account.post("/v2/serverless", queue("y")).await.status, 504);
    cloud.fail_nth(1, creates, Fault::Slow(Duration::from_millis(300)));
    account.made(queue("z")).await;
    let before = Instant::now();
    account.made(queue("w")).await;
    assert!(before.elapsed() >= Duration::from_millis(300));
    assert!(cloud.has_no_faults_left());
    assert!(["x", "y", "z", "w"].iter().all(|name| cloud.endpoint(name).is_some()));
    let calls = cloud.calls();
    let told: Vec<_> = calls.iter().map(|call| (call.status, call.carried_out)).collect();
    let expected = [
        (Some(503), false),
        (Some(429), false),
        (Some(401), false),
        (None, false),
        (None, true),
        (Some(504), true),
        (Some(201), true),
        (Some(201), true),
    ];
    assert_eq!(told, expected);
    assert_eq!(calls[0].body, Some(queue("x")));
    cloud.assert_contract_kept();
}

/// The next event of a stream, as text.
async fn event(
    stream: &mut (impl futures_util::Stream<Item = reqwest::Result<axum::body::Bytes>> + Unpin),
) -> String {
    let chunk = tokio::time::timeout(SOON, stream.next()).await.expect("an event in time").unwrap().unwrap();
    String::from_utf8(chunk.to_vec()).unwrap()
}

#[tokio::test]
async fn lines_of_a_worker_are_followed_and_resumed() {
    let cloud = Cloud::start();
    let account = Account::of(&cloud);
    let endpoint = account.made(queue("x")).await;
    let id = endpoint["id"].as_str().unwrap();
    let worker = until("a worker", SOON, async || cloud.workers(id).pop().ok_or_else(String::new)).await;
    for line in ["one", "two", "three"] {
        cloud.print(&worker, line);
    }
    let path = format!("/v2/serverless/{id}/workers/{worker}/logs");
    let read = async |query: &str, last: &str| {
        let request = account.request("GET", &format!("{path}{query}"), None).header("last-event-id", last);
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.bytes_stream()
    };
    let mut all = read("?source=container", "").await;
    let text = event(&mut all).await;
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert!(ids.len() == 3 && ids[2].ends_with("/000000000002") && text.ends_with("\n\n"), "{text}");
    cloud.print(&worker, "four");
    assert!(event(&mut all).await.contains(r#""line":"four""#));
    let mut tail = read("?tail=1", "").await;
    assert!(event(&mut tail).await.contains("four"));
    let resumed = event(&mut read("?tail=1", ids[1]).await).await;
    assert!(!resumed.contains("two") && resumed.contains("three") && resumed.contains("four"), "{resumed}");
    let all_of_today = event(&mut read("?since=2026-01-01T00:00:00Z", "").await).await;
    assert!(all_of_today.contains("one"), "{all_of_today}");
    assert_eq!(account.get(&format!("/v2/serverless/{id}/workers/nobody/logs")).await.status, 404);
    cloud.assert_contract_kept();
}

#[tokio::test]
async fn jobs_wait_are_counted_cancelled_and_purged() {
    let cloud = Cloud::start();
    let account = Account::of(&cloud);
    let endpoint = account.made(queue("x")).await;
    let id = endpoint["id"].as_str().unwrap();
    let mut jobs = Vec::new();
    for _ in 0..3 {
        let job =
            account.queue("POST", &format!("{id}/run"), Some(json!({ "input": { "n": 1 } }))).await.json();
        assert_eq!(job["status"], "IN_QUEUE", "{job}");
        jobs.push(job["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(account.queue("GET", &format!("{id}/health"), None).await.json()["jobs"]["inQueue"], 3);
    let cancelled = account.queue("POST", &format!("{id}/cancel/{}", jobs[0]), None).await.json();
    assert_eq!(cancelled, json!({ "id": jobs[0], "status": "CANCELLED" }));
    let purged = account.queue("POST", &format!("{id}/purge-queue"), None).await.json();
    assert_eq!(purged, json!({ "removed": 2, "status": "completed" }));
    assert_eq!(account.queue("GET", &format!("{id}/status/{}", jobs[1]), None).await.status, 404);
    assert_eq!(account.queue("POST", &format!("{id}/run"), Some(json!({}))).await.status, 400);
    assert_eq!(account.queue("POST", "nobody/run", Some(json!({ "input": 1 }))).await.status, 404);
    let waited =
        account.queue("POST", &format!("{id}/runsync?wait=100"), Some(json!({ "input": { "n": 1 } }))).await;
    assert_eq!((waited.status, &waited.json()["status"]), (200, &json!("IN_QUEUE")));
}

/// An image with nothing but the worker in `runpod/worker.rs`, pushed to a registry.
fn pushed(registry: &DockerRegistry) -> String {
    let directory = tempfile::TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let run = |program: &str, arguments: &[&str]| {
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    let source = support::root().join("flash-cli/tests/it/runpod/worker.rs");
    // A static program runs in an empty image.
    let flags =
        ["--edition=2024", "-Ctarget-feature=+crt-static", "-o", &at("worker"), source.to_str().unwrap()];
    run("rustc", &flags);
    let mut tar = tar::Builder::new(std::fs::File::create(at("image.tar")).unwrap());
    tar.append_path_with_name(at("worker"), "worker").unwrap();
    tar.finish().unwrap();
    let image = format!("{}/me/worker:1", registry.address);
    let (root, state) = (format!("--root={}", at("root")), format!("--runroot={}", at("run")));
    run(
        "podman",
        &[&root, &state, "import", "--quiet", r#"--change=ENTRYPOINT ["/worker"]"#, &at("image.tar"), &image],
    );
    run("podman", &[&root, &state, "push", "--quiet", "--tls-verify=false", &image]);
    // Files of a store may be of users that only podman can act as.
    run("podman", &[&root, &state, "rmi", "--all", "--force"]);
    image
}

#[tokio::test]
async fn a_pushed_image_does_jobs_serves_requests_and_is_tried_again_when_it_dies() {
    if !has_engine() || !has_programs(&["docker-registry"]) {
        return;
    }
    let registry = DockerRegistry::start();
    let image = pushed(&registry);
    let options = Options { hold: Duration::from_secs(1), ..Options::default() };
    let cloud = Cloud::start_with(options, Containers::new());
    cloud.set_secret("HELLO", "good day");
    let account = Account::of(&cloud);
    let env = json!({ "GREETING": "{{ RUNPOD_SECRET_HELLO }}" });
    let workers = json!({ "min": 0, "max": 1, "idleTimeout": 60 });
    let body = with(queue("jobs"), &[("image", json!(image)), ("env", env), ("workers", workers)]);
    let jobs = account.made(body).await;
    let id = jobs["id"].as_str().unwrap();
    assert_eq!(cloud.workers(id), Vec::<String>::new(), "nothing is needed yet");
    let job = account.queue("POST", &format!("{id}/run"), Some(json!({ "input": { "n": 7 } }))).await.json();
    let status = format!("{id}/status/{}", job["id"].as_str().unwrap());
    let done = until("the end of the job", SOON, async || {
        let job = account.queue("GET", &status, None).await.json();
        let lines: Vec<_> = cloud.workers(id).iter().map(|worker| cloud.lines(worker)).collect();
        if job["status"] == "COMPLETED" { Ok(job) } else { Err(format!("{job}: {lines:?}")) }
    })
    .await;
    assert_eq!(
        (&done["output"]["greeting"], &done["output"]["job"]["input"]),
        (&json!("good day"), &json!({ "n": 7 }))
    );
    let worker = done["workerId"].as_str().unwrap().to_owned();
    // A line goes through the engine, the end of a job does not: either may be here first.
    until("the lines of the worker", SOON, async || {
        let lines = cloud.lines(&worker);
        let has_said = |text: &str| lines.iter().any(|line| line.starts_with(text));
        if has_said("takes jobs") && has_said("has ") { Ok(()) } else { Err(format!("{lines:?}")) }
    })
    .await;

    let death = account
        .queue("POST", &format!("{id}/runsync"), Some(json!({ "input": { "die": "die" } })))
        .await
        .json();
    assert_eq!(
        (&death["status"], &death["error"]),
        (&json!("FAILED"), &json!("job timed out after 1 retries")),
        "{death}"
    );

    let env = json!({ "GREETING": "hi", "PORT": "8000", "PORT_HEALTH": "8000" });
    let scaling = json!({ "type": "REQUEST_COUNT", "requestCount": 4 });
    let served = [
        ("type", json!("LOAD_BALANCER")),
        ("scaling", scaling),
        ("image", json!(image)),
        ("env", env),
        ("ports", json!(["8000/http"])),
    ];
    let served = account.made(with(queue("served"), &served)).await;
    let base = served["requestUrls"]["base"].as_str().unwrap();
    let answer =
        account.client.send(account.client.raw().get(format!("{base}/some/path?x=1")).bearer_auth(KEY)).await;
    assert_eq!((answer.status, answer.text.as_str()), (200, "/some/path?x=1 hi"));
    let worker = cloud.workers(served["id"].as_str().unwrap()).pop().unwrap();
    assert_eq!(answer.header("x-runpod-worker-id"), worker);
    assert_eq!(account.client.get(format!("{base}/x")).await.status, 401);
    for id in [id, served["id"].as_str().unwrap()] {
        assert_eq!(account.call("DELETE", &format!("/v2/serverless/{id}"), None).await.status, 204);
    }
    until("the end of the containers", SOON, async || match support::images::arguments_with(&image) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
    cloud.assert_contract_kept();
}
