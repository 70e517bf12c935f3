//! Sends that meet others, that are killed, whose workers never become ready; and what others did meanwhile.
use std::{
    io::{BufRead as _, BufReader},
    time::Duration,
};

use serde_json::{Value, json};

use super::bench::{Bench, SEND};
use crate::support::{
    Finished,
    registry::has_programs,
    runpod::{Call, Fault, NoWorkers},
    wait_for,
};

const LIMIT: Duration = Duration::from_secs(60);

fn bench() -> Option<Bench> {
    if !has_programs(&["skopeo"]) {
        return None;
    }
    let bench = Bench::new(NoWorkers);
    bench.new_environment();
    Some(bench)
}

fn is(line: &'static str) -> impl Fn(&Call) -> bool + Send + 'static {
    move |call| call.line() == line
}

/// Waits until such a call was made, answered or not.
fn made(bench: &Bench, is_it: impl Fn(&Call) -> bool) {
    wait_for("the call", LIMIT, || match bench.cloud.calls().iter().any(&is_it) {
        true => Ok(()),
        false => Err(format!("{:?}", bench.cloud.calls().iter().map(Call::line).collect::<Vec<_>>())),
    });
}

fn states(bench: &Bench) -> Vec<Value> {
    let history = bench.json(&["deploy", "history", "cloud"]);
    history["releases"].as_array().unwrap().iter().map(|release| release["state"].clone()).collect()
}

#[test]
fn of_two_changes_at_once_the_second_is_told() {
    let Some(bench) = bench() else { return };
    bench.done(&SEND);
    bench.edit("numbers.iter().sum()", "numbers.iter().sum::<u32>() + 1");
    bench.done(&SEND);
    bench.edit("sum::<u32>() + 1", "sum::<u32>() + 2");
    bench.cloud.forget_calls();
    // The first one is at work for so long.
    let is_patch = |call: &Call| call.method == "PATCH" && call.path.starts_with("/v2/serverless/");
    bench.cloud.fail_next(is_patch, Fault::Slow(Duration::from_secs(6)));
    let first = bench.start(&SEND);
    made(&bench, is_patch);
    for second in [
        ["deploy", "rollback", "cloud", "--yes"].as_slice(),
        &["undeploy", "cloud", "--yes"],
        &["deploy", "remove", "cloud", "--yes"],
    ] {
        let second = bench.flash(second);
        assert_ne!(second.code, Some(0), "{second:?}");
        assert!(second.stderr.contains("release 3 is already being sent"), "{second:?}");
    }
    let first = Finished::of(first.wait_with_output().unwrap());
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(states(&bench).len(), 3);
    assert_eq!(bench.cloud.endpoints().len(), 2);
    bench.cloud.assert_contract_kept();
}

#[test]
fn a_send_that_is_killed_holds_nobody_up_for_long_and_is_gone_on_with() {
    let Some(bench) = bench() else { return };
    bench.cloud.fail_next(is("POST /v2/serverless"), Fault::Slow(Duration::from_secs(4)));
    let mut killed = bench.start(&SEND);
    made(&bench, is("POST /v2/serverless"));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let told = bench.send();
    assert_ne!(told.code, Some(0), "{told:?}");
    assert!(told.stderr.contains("if its sender was killed, try again in"), "{told:?}");
    let removed = bench.flash(&["deploy", "remove", "cloud", "--yes"]);
    assert_ne!(removed.code, Some(0), "{removed:?}");
    // A minute later.
    let record = bench.cloud.templates().pop().unwrap();
    let heard: u64 = record["env"]["FLASH_HEARTBEAT_MS"].as_str().unwrap().parse().unwrap();
    let earlier = (heard - 61_000).to_string();
    bench.cloud.meddle_template(record["id"].as_str().unwrap(), "FLASH_HEARTBEAT_MS", &earlier);
    let sent = bench.send();
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert_eq!(bench.cloud.endpoints().len(), 2, "what the killed one made is used");
    let states = states(&bench);
    assert_eq!((states.len(), states[0]["state"].as_str()), (2, Some("live")), "{states:?}");
    assert_eq!(states[1]["state"], "failed", "{states:?}");
    bench.cloud.assert_contract_kept();
}

#[test]
fn a_release_whose_workers_crash_is_taken_back() {
    let Some(bench) = bench() else { return };
    bench.done(&SEND);
    let before = ["cruncher", "page"].map(|worker| bench.endpoint(worker));
    bench.edit("numbers.iter().sum()", "numbers.iter().sum::<u32>() + 1");
    bench.cloud.break_image("page");
    let broken = bench.send();
    assert_eq!(broken.code, Some(1), "{broken:?}");
    for part in ["`page` is unhealthy", "release 1 is live as before", "flash logs cloud --worker page"] {
        assert!(broken.stderr.contains(part), "{part}: {broken:?}");
    }
    let as_before = ["cruncher", "page"].map(|worker| bench.endpoint(worker));
    assert_eq!(as_before, before);
    let told = states(&bench);
    assert_eq!((&told[0]["state"], &told[1]["state"]), (&json!("failed"), &json!("live")), "{told:?}");
    bench.cloud.fix_images();
    bench.done(&SEND);
    assert_eq!(states(&bench)[0]["state"], "live");
    bench.cloud.assert_contract_kept();
}

#[test]
fn what_was_changed_by_hand_is_shown_and_put_right() {
    let Some(bench) = bench() else { return };
    bench.done(&SEND);
    let id = bench.endpoint("page").unwrap()["id"].as_str().unwrap().to_owned();
    let timed = bench.flash(&["scale", "cloud", "page", "--max", "9", "--for", "2h"]);
    assert!(timed.code == Some(2) && timed.stderr.contains("leave --for out"), "{timed:?}");
    bench.done(&["scale", "cloud", "page", "--max", "9"]);
    let history = bench.flash(&["history", "cloud"]);
    assert!(history.stdout.contains("page is scaled by hand to 1..=9 workers"), "{history:?}");
    bench.cloud.meddle(&id, |endpoint| {
        endpoint["timeout"] = 0.into();
        endpoint["flashboot"] = "OFF".into();
    });
    let plan = bench.flash(&["deploy", "send", "cloud", "--plan", "--release-profile", "dev"]);
    assert_eq!(plan.code, Some(2), "{plan:?}");
    for part in ["workers.max", "timeout", "flashboot"] {
        assert!(plan.stdout.contains(part) || plan.stderr.contains(part), "{part}: {plan:?}");
    }
    assert_eq!(bench.endpoint("page").unwrap()["workers"]["max"], 9, "a plan changes nothing");
    bench.done(&SEND);
    let page = bench.endpoint("page").unwrap();
    assert_eq!(
        (&page["workers"]["max"], &page["timeout"], &page["flashboot"]),
        (&json!(2), &json!(600_000), &json!("FLASHBOOT")),
        "{page}"
    );
    // One that somebody deleted is made anew.
    bench.cloud.delete(&id);
    let status = bench.flash(&["status", "cloud"]);
    assert_eq!(status.code, Some(1), "{status:?}");
    assert!(status.stderr.contains("the endpoints of page no longer exist"), "{status:?}");
    bench.done(&SEND);
    assert!(bench.endpoint("page").is_some());
    bench.cloud.assert_contract_kept();
}

#[test]
fn a_log_is_followed_and_a_bill_that_cannot_be_read_is_not_zero() {
    let Some(bench) = bench() else { return };
    bench.done(&SEND);
    let page = bench.endpoint("page").unwrap()["id"].as_str().unwrap().to_owned();
    let worker = bench.cloud.workers(&page).pop().unwrap();
    bench.cloud.print(&worker, r#"{"requestId":"r1","message":"before","level":"INFO"}"#);
    let mut following = bench.start(&["logs", "cloud", "--follow"]);
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = |part: &str| {
        let line = lines.find(|line| line.as_ref().unwrap().contains(part)).unwrap().unwrap();
        assert!(line.contains("r1"), "{line}");
    };
    next("before");
    bench.cloud.print(&worker, r#"{"requestId":"r1","message":"later","level":"INFO"}"#);
    next("later");
    following.kill().unwrap();
    following.wait().unwrap();
    let is_bill = |call: &Call| call.path == "/v2/billing/serverless";
    bench.cloud.fail_next(is_bill, Fault::Status(403));
    let status = bench.json(&["status", "cloud"]);
    assert_eq!((&status["cost"], &status["workers"][0]["cost"]), (&Value::Null, &Value::Null), "{status}");
    bench.cloud.fail_next(is_bill, Fault::Status(403));
    let cost = bench.flash(&["cost", "cloud"]);
    assert_eq!(cost.code, Some(2), "{cost:?}");
    bench.cloud.assert_contract_kept();
}

#[test]
fn a_worker_type_is_taken_out_and_the_others_stay() {
    let Some(bench) = bench() else { return };
    bench.done(&SEND);
    bench.done(&["undeploy", "cloud", "--worker", "cruncher", "--yes"]);
    assert_eq!(bench.endpoint("cruncher"), None);
    let page = bench.endpoint("page").unwrap();
    let siblings: Value = serde_json::from_str(page["env"]["FLASH_ENDPOINTS"].as_str().unwrap()).unwrap();
    assert_eq!(siblings.as_object().unwrap().len(), 1, "{siblings}");
    bench.done(&SEND);
    assert!(bench.endpoint("cruncher").is_some());
    bench.cloud.assert_contract_kept();
}

#[test]
fn data_centers_and_volumes_come_from_the_environment() {
    let Some(bench) = bench() else { return };
    bench.cloud.plant_volume("vol-1", "EU-RO-1");
    bench.cloud.plant_registry("cred-1");
    let path = bench.directory.join("flash.toml");
    let mut settings = std::fs::read_to_string(&path).unwrap();
    settings.push_str(
        "data_centers = [\"EU-RO-1\"]\nnetwork_volumes = [\"vol-1\"]\nregistry_credential = \"cred-1\"\n",
    );
    std::fs::write(&path, settings).unwrap();
    // A pool that has no stock there.
    let (cpu, gpu) = ("cpu = Cpu3c_2_4, workers = 0..=2", "gpu = Hopper141, workers = 0..=2");
    bench.edit(cpu, gpu);
    let plan = bench.flash(&["deploy", "send", "cloud", "--plan", "--release-profile", "dev"]);
    assert_eq!(plan.code, Some(2), "{plan:?}");
    assert!(plan.stderr.contains("`cruncher`: none of its hardware is in stock in EU-RO-1"), "{plan:?}");
    bench.edit(gpu, cpu);
    bench.done(&SEND);
    let page = bench.endpoint("page").unwrap();
    assert_eq!(
        (&page["dataCenterIds"], &page["networkVolumes"], &page["registry"]),
        (&json!(["EU-RO-1"]), &json!(["vol-1"]), &json!("cred-1")),
        "{page}"
    );
    bench.cloud.assert_contract_kept();
}
