//! `flash deploy` and its like with the target `runpod`, through the real binary, against a stand-in of the cloud that
//! judges every call by the provider's own document.
mod bench;
mod trouble;

use std::path::Path;

use bench::{Bench, SEND};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    self, Finished,
    images::has_engine,
    registry::has_programs,
    runpod::{self, Cloud, Containers, Fault, Host, KEY, NoWorkers},
};

fn has_all() -> bool {
    has_programs(&["skopeo"])
}

/// Foreign endpoints and templates of the account, as they should still be at the end.
fn plant_foreign(cloud: &Cloud) -> Vec<Value> {
    let body = |name: &str, env: Value| {
        json!({
            "name": name, "type": "QUEUE", "image": "registry/of/others:1", "env": env,
            "cpu": [{ "id": "cpu3g", "vcpuCount": 2 }], "scaling": { "type": "QUEUE_DELAY", "queueDelay": 4 },
            "timeout": 600_000, "flashboot": "FLASHBOOT",
        })
    };
    cloud.plant_endpoint(&body("image-generator", json!({})));
    // Named as ours, without our markers.
    cloud.plant_endpoint(&body("flash.cloud-app.cloud.stranger", json!({})));
    // The same app in another environment.
    let other = json!({ "FLASH_APP": "cloud-app", "FLASH_ENVIRONMENT": "other", "FLASH_WORKER": "page" });
    cloud.plant_endpoint(&body("flash.cloud-app.other.page", other));
    foreign(cloud)
}

fn foreign(cloud: &Cloud) -> Vec<Value> {
    let mut all = cloud.endpoints();
    let is_ours = |endpoint: &Value| {
        let name = endpoint["name"].as_str().unwrap();
        name.starts_with("flash.cloud-app.cloud.") && !name.contains("stranger")
    };
    all.retain(|endpoint| !is_ours(endpoint));
    all.sort_by_key(|endpoint| endpoint["id"].to_string());
    all
}

#[test]
fn an_app_is_deployed_called_read_rolled_back_and_removed() {
    if !has_all() || !has_engine() {
        return;
    }
    let bench = Bench::new(Containers::new());
    let others = plant_foreign(&bench.cloud);
    bench.new_environment();
    let sent = bench.json(&SEND);
    assert_eq!(sent["release"]["number"], 1, "{sent}");
    assert_eq!(sent["verified"], true, "{sent}");
    let cruncher = bench.endpoint("cruncher").unwrap();
    assert_eq!(cruncher["env"]["FLASH_RELEASE"], "1");
    let siblings: Value = serde_json::from_str(cruncher["env"]["FLASH_ENDPOINTS"].as_str().unwrap()).unwrap();
    assert_eq!(siblings.as_object().unwrap().len(), 2, "{siblings}");

    let called = bench.json(&["call", "cloud", "crunch", r#"{"numbers": [1, 2, 3]}"#]);
    assert_eq!(called["output"], 6, "{called}");
    assert!(called["estimated_nanodollars"].is_u64() && called["cost_nanodollars"].is_null(), "{called}");
    // Through a worker that calls another one, over the cloud.
    let called = bench.json(&["call", "cloud", "/sum/{to}", r#"{"to": 10}"#]);
    assert_eq!(called["output"], 55, "{called}");
    bench.told(&["logs", "cloud", "--worker", "cruncher"], &["crunching 3 numbers", "crunching 10 numbers"]);
    let status = bench.json(&["status", "cloud"]);
    assert_eq!(status["serving"]["state"], "live", "{status}");

    // What the provider bills, and beside it an estimate of the two calls.
    let hour = |ago: i64| {
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(ago);
        time.strftime("%Y-%m-%dT%H:00:00Z").to_string()
    };
    bench.cloud.plant_billing(json!({
        "startTime": hour(1), "endTime": hour(0), "serverlessId": cruncher["id"],
        "totalAmount": 0.25, "gpuAmount": 0.0, "cpuAmount": 0.2, "diskAmount": 0.05, "feeAmount": 0.0,
    }));
    let calls = ["cost", "cloud", "--by", "function", "--json"];
    bench.told(&calls, &[r#""calls":2"#]);
    let cost = bench.json(&["cost", "cloud"]);
    assert_eq!(
        (&cost["total_nanodollars"], &cost["calls_from"]),
        (&json!(250_000_000), &json!("logs")),
        "{cost}"
    );
    assert_eq!(
        (&cost["rows"][0]["name"], &cost["rows"][0]["calls"]),
        (&json!("cruncher"), &json!(2)),
        "{cost}"
    );
    let cost = bench.json(&calls[..4]);
    assert_eq!(cost["rows"][0]["name"], "crunch", "{cost}");
    let table = bench.done(&["cost", "cloud"]);
    assert!(table.stdout.contains("billed") && table.stdout.contains("$0.250000000"), "{table:?}");

    // The same again changes nothing.
    bench.cloud.forget_calls();
    bench.done(&SEND);
    let changes: Vec<String> =
        bench.cloud.calls().iter().filter(|call| call.changes()).map(|call| call.line()).collect();
    assert!(changes.iter().all(|line| !line.contains("/v2/serverless")), "{changes:?}");

    bench.edit("numbers.iter().sum()", "numbers.iter().sum::<u32>() + 100");
    assert_eq!(bench.json(&SEND)["release"]["number"], 2);
    let called = bench.json(&["call", "cloud", "crunch", r#"{"numbers": [1]}"#]);
    assert_eq!(called["output"], 101, "{called}");
    let back = bench.json(&["deploy", "rollback", "cloud", "--yes"]);
    assert_eq!(back["release"]["rollback_of"], 1, "{back}");
    let called = bench.json(&["call", "cloud", "crunch", r#"{"numbers": [1]}"#]);
    assert_eq!(called["output"], 1, "{called}");
    let history = bench.json(&["deploy", "history", "cloud"]);
    assert_eq!(history["releases"].as_array().unwrap().len(), 3, "{history}");

    bench.done(&["deploy", "remove", "cloud", "--yes"]);
    assert_eq!(bench.endpoint("cruncher"), None);
    assert_eq!(bench.cloud.templates(), Vec::<Value>::new());
    assert_eq!(foreign(&bench.cloud), others);
    bench.cloud.assert_contract_kept();
}

#[test]
fn the_example_is_deployed_called_read_rolled_back_and_removed() {
    if !has_all() || !has_engine() {
        return;
    }
    let bench = Bench::of_example(Containers::new());
    bench.new_environment();
    let sent = bench.json(&SEND);
    assert_eq!((&sent["release"]["number"], &sent["verified"]), (&json!(1), &json!(true)), "{sent}");
    let workers = ["preprocess_worker", "inference_worker", "postprocess_worker", "classify_pipeline"];
    let hardware = workers.map(|worker| {
        let endpoint = bench.endpoint(worker).unwrap_or_else(|| panic!("no {worker}"));
        json!([endpoint["type"], endpoint["cpu"][0]["id"], endpoint["gpu"]["pools"]])
    });
    assert_eq!(
        hardware,
        [
            json!(["QUEUE", "cpu3g", null]),
            json!(["QUEUE", null, ["ADA_24"]]),
            json!(["QUEUE", "cpu3g", null]),
            json!(["LOAD_BALANCER", "cpu3c", null]),
        ]
    );

    let text = json!({ "text": "This product is amazing! I love it!" }).to_string();
    let classified = |release: &str| {
        let called = bench.json(&["call", "cloud", "/classify", &text]);
        let output = &called["output"];
        assert_eq!(output["classification"]["label"], "positive", "{release}: {called}");
        let steps = &output["processing_pipeline"]["steps"];
        assert_eq!(steps, &json!(["preprocess", "inference", "postprocess"]), "{release}: {called}");
    };
    classified("release 1");
    let called = bench.json(&["call", "cloud", "preprocess_text", r#"{"text": "  Test \n message "}"#]);
    assert_eq!(called["output"]["cleaned_text"], "Test message", "{called}");
    let refused = bench.flash(&["call", "cloud", "/classify", r#"{"text": "ab"}"#]);
    assert!(refused.code != Some(0) && refused.stderr.contains("/text"), "{refused:?}");
    bench.told(&["logs", "cloud", "--worker", "preprocess_worker"], &["7 words in 2 sentences"]);

    let source = bench.directory.join("src/cpu_worker.rs");
    let code = std::fs::read_to_string(&source).unwrap();
    assert!(code.contains("\"preprocess\""), "{code}");
    std::fs::write(&source, code.replace("\"preprocess\"", "\"cleaning\"")).unwrap();
    assert_eq!(bench.json(&SEND)["release"]["number"], 2);
    let called = bench.json(&["call", "cloud", "/classify", &text]);
    assert_eq!(called["output"]["processing_pipeline"]["steps"][0], "cleaning", "{called}");
    let back = bench.json(&["deploy", "rollback", "cloud", "--yes"]);
    assert_eq!(back["release"]["rollback_of"], 1, "{back}");
    classified("after the rollback");

    bench.done(&["deploy", "remove", "cloud", "--yes"]);
    assert_eq!(bench.cloud.endpoints(), Vec::<Value>::new());
    assert_eq!(bench.cloud.templates(), Vec::<Value>::new());
    bench.cloud.assert_contract_kept();
}

#[test]
fn whichever_call_of_a_send_breaks_the_next_send_ends_right() {
    if !has_all() {
        return;
    }
    let bench = Bench::new(NoWorkers);
    let others = plant_foreign(&bench.cloud);
    bench.new_environment();
    bench.done(&SEND);
    // How many calls there are to break, of a send that makes everything.
    let is_rest = |call: &runpod::Call| call.host == Host::Rest;
    let calls = bench.cloud.calls().iter().filter(|call| is_rest(call)).count();
    assert!(calls > 10, "{calls}");
    let goal = |bench: &Bench| {
        ["cruncher", "page"].map(|worker| {
            let endpoint = bench.endpoint(worker).unwrap_or_else(|| panic!("no {worker}"));
            json!([endpoint["image"], endpoint["workers"], endpoint["timeout"], endpoint["flashboot"]])
        })
    };
    let right = goal(&bench);
    for (index, fault) in [
        Fault::Unauthorized,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::Status(500),
        Fault::StatusAfter(502),
        Fault::TooMany { retry_after: 0 },
    ]
    .into_iter()
    .cycle()
    .enumerate()
    .take(calls)
    {
        bench.done(&["deploy", "remove", "cloud", "--yes"]);
        bench.new_environment();
        bench.cloud.fail_nth(index, is_rest, fault);
        let broken = bench.send();
        assert!(matches!(broken.code, Some(0..=2)), "{index}: {broken:?}");
        assert!(!broken.stderr.contains(KEY) && !broken.stderr.contains("panicked"), "{index}: {broken:?}");
        bench.cloud.forget_faults();
        let sent = bench.send();
        assert_eq!(sent.code, Some(0), "{index}: {sent:?}");
        assert_eq!(goal(&bench), right, "{index}");
        assert_eq!(foreign(&bench.cloud), others, "{index}");
    }
    bench.cloud.assert_contract_kept();
}

#[test]
fn what_keeps_a_release_from_going_there_is_told_before_anything_changes() {
    if !has_all() {
        return;
    }
    let bench = Bench::new(NoWorkers);
    bench.new_environment();
    bench.edit("cpu = Cpu3c_2_4, workers = 0..=2", "cpu = Cpu3c_1_2, workers = 0..=2");
    let refused = bench.send();
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("cpu3c-2-4"), "{refused:?}");
    assert!(bench.cloud.calls().iter().all(|call| !call.changes()), "{:?}", bench.cloud.calls());
    bench.cloud.assert_contract_kept();
}

#[test]
fn a_key_is_checked_kept_and_forgotten() {
    let cloud = Cloud::start();
    let config = TempDir::new().unwrap();
    let run = |arguments: &[&str], key: &str| {
        use std::{io::Write as _, process::Stdio};
        let mut command = support::flash(arguments);
        command.env("FLASH_CONFIG_DIR", config.path()).env("FLASH_RUNPOD_REST_URL", cloud.rest_url());
        command.current_dir(config.path()).env_remove("RUNPOD_API_KEY");
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that asks for no key may have ended already.
        let _ = child.stdin.take().unwrap().write_all(format!("{key}\n").as_bytes());
        Finished::of(child.wait_with_output().unwrap())
    };
    let file = config.path().join("runpod.json");
    let wrong = run(&["login"], "rpa_wrong");
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert!(!file.exists() && !wrong.stderr.contains("rpa_wrong"), "{wrong:?}");
    let kept = run(&["login"], KEY);
    assert_eq!(kept.code, Some(0), "{kept:?}");
    assert!(!kept.stdout.contains(KEY) && !kept.stderr.contains(KEY), "{kept:?}");
    assert_eq!(mode_of(&file), 0o600);
    let gpus = run(&["catalog", "gpus"], "");
    assert_eq!(gpus.code, Some(0), "{gpus:?}");
    assert!(gpus.stdout.contains("ADA_24"), "{gpus:?}");
    assert_eq!(run(&["logout"], "").code, Some(0));
    assert!(!file.exists());
    let none = run(&["catalog", "cpus"], "");
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.stderr.contains("flash login"), "{none:?}");
    cloud.assert_contract_kept();
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
