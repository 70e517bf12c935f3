//! Environments on a real cluster: made, used and removed with the same commands as elsewhere; and what happens when parts of it
//! fail.
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{
    PATIENCE, SOON,
    cluster::{TestCluster, wait_for_objects},
    deployed::Deployed,
    wait_for,
};

/// All kinds of objects that an environment has.
const KINDS: &str = "pods,services,statefulsets,configmaps,persistentvolumeclaims,serviceaccounts,roles,rolebindings,\
                     networkpolicies,secrets";

/// An environment with version `one` of the app live in it.
fn live(cluster: &TestCluster) -> Deployed {
    let app = Deployed::new(&cluster.settings());
    app.succeeds(&["deploy", "new", "production"]);
    app.send(&[]);
    app
}

#[track_caller]
fn call(app: &Deployed, function: &str, input: &Value) -> Value {
    app.json(&["call", "production", function, &input.to_string()])["output"].clone()
}

#[test]
fn an_app_is_deployed_called_read_changed_and_removed() {
    let Some(cluster) = TestCluster::find() else { return };
    let app = live(&cluster);
    assert_eq!(call(&app, "greet", &json!({ "name": "Ada" }))["text"], "hello, Ada");
    // A load-balanced worker, which calls another one.
    assert_eq!(call(&app, "GET /hello/{name}", &json!({ "name": "Bob" }))["version"], "one");
    let lines = app.logs(&["--search", "greeting Ada"]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0]["request_id"].is_string(), "a line belongs to its request: {lines:?}");

    // Secrets and variables reach workers, and no description of a pod has them.
    let secret = uuid::Uuid::new_v4().to_string();
    std::fs::write(app.path().join("secret"), &secret).unwrap();
    app.succeeds(&["secret", "set", "production", "TOKEN", "--from-file", "secret"]);
    std::fs::remove_file(app.path().join("secret")).unwrap();
    app.version("one", "two");
    app.send(&[]);
    assert_eq!(call(&app, "greet", &json!({ "name": "Ada" }))["version"], "two");
    assert_eq!(call(&app, "variable", &json!({ "name": "TOKEN" })), json!(secret));
    let described = cluster.ask(&["get", "pods", "--output", "json"]);
    assert!(!described.contains(&secret), "a secret stands in a pod");

    app.succeeds(&["scale", "production", "greeter", "--min", "2"]);
    wait_for("two workers", SOON, || match cluster.workers("greeter").len() {
        2 => Ok(()),
        count => Err(count.to_string()),
    });
    app.succeeds(&["deploy", "rollback", "production", "--yes"]);
    assert_eq!(call(&app, "greet", &json!({ "name": "Ada" }))["version"], "one");
    let status = app.json(&["status", "production"]);
    assert_eq!(status["serving"]["release"], 3, "{status}");
    let history = app.json(&["deploy", "history", "production"]);
    assert_eq!(history["releases"].as_array().map(Vec::len), Some(3), "{history}");
    let listed = app.json(&["deploy", "list"]);
    assert_eq!(listed["environments"][0]["target"], "kubernetes", "{listed}");
    let costs = app.json(&["cost", "production"]);
    assert!(costs.to_string().contains("greeter"), "{costs}");

    app.succeeds(&["deploy", "remove", "production", "--yes"]);
    wait_for_objects(&cluster, KINDS, 0);
    app.fails(2, &["status", "production"], &["has no environment `production`"]);
}

/// Of the worker type `greeter`, as `flash status` says; an error while its platform starts again.
fn greeter(app: &Deployed) -> Result<Value, String> {
    let status = app.run(&["status", "production", "--json"]);
    if status.code != Some(0) {
        return Err(status.stderr);
    }
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    let workers = status["workers"].as_array().unwrap().clone();
    workers.into_iter().find(|own| own["name"] == "greeter").ok_or_else(|| status.to_string())
}

#[track_caller]
fn wait_for_jobs(app: &Deployed, which: &str, count: u64) {
    wait_for(&format!("{count} {which} jobs"), PATIENCE, || {
        let greeter = greeter(app)?;
        if greeter[which].as_u64() == Some(count) { Ok(()) } else { Err(greeter.to_string()) }
    });
}

#[test]
fn jobs_survive_the_end_of_the_platform_and_of_their_workers() {
    const GO: &str = "/tmp/go";
    let Some(cluster) = TestCluster::find() else { return };
    let app = live(&cluster);
    for _ in 0..4 {
        app.json(&["call", "production", "linger", &json!({ "until": GO }).to_string(), "--async"]);
    }
    wait_for_jobs(&app, "running", 3);
    // As when its node is lost, or it is evicted.
    let first = cluster.workers("greeter").remove(0);
    cluster.ask(&["delete", "pod", &first, "--grace-period=1"]);
    wait_for("another worker", SOON, || match cluster.workers("greeter") {
        workers if workers.len() == 3 && !workers.contains(&first) => Ok(()),
        workers => Err(format!("{workers:?}")),
    });
    wait_for_jobs(&app, "running", 3);
    wait_for("the cause in the log", SOON, || {
        let found = app.logs(&["--search", "its pod (is told to end|was deleted)"]);
        if found.is_empty() { Err(format!("of {first}: {:?}", app.logs(&[]))) } else { Ok(()) }
    });
    // Without time for anything.
    cluster.ask(&["delete", &cluster.platform(), "--grace-period=0", "--force"]);
    wait_for_jobs(&app, "running", 3);
    wait_for("the end of all jobs", PATIENCE, || {
        // Workers that start later find it missing in their own file system.
        make_in_workers(GO);
        let greeter = greeter(&app)?;
        if greeter["completed"] == 4 { Ok(()) } else { Err(greeter.to_string()) }
    });
    assert_eq!(greeter(&app).unwrap()["failed"], 0);
}

/// Makes a file in the file system of each worker: the node is this machine.
fn make_in_workers(path: &str) {
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let program = std::fs::read_link(process.path().join("exe")).unwrap_or_default();
        if program == Path::new("/app/deployed-app") {
            let file = process.path().join("root").join(path.trim_start_matches('/'));
            // It may have ended.
            let _ = std::fs::write(file, "");
        }
    }
}

#[test]
fn what_is_missing_is_said_before_anything_is_made() {
    let Some(cluster) = TestCluster::find() else { return };
    let other = "service_account = \"missing\"\npull_secret = \"gone\"\ncpu_request_percent";
    let app = Deployed::new(&cluster.settings().replace("cpu_request_percent", other));
    let said = [
        "`service_account` names `missing`, which the cluster does not have",
        "`pull_secret` names `gone`, which the cluster does not have",
    ];
    app.fails(2, &["deploy", "new", "production"], &said);
    assert!(!cluster.exists(), "the namespace was made");
}

#[test]
fn what_the_cluster_refuses_is_told_in_its_words_and_removed() {
    let Some(cluster) = TestCluster::find() else { return };
    cluster.ask(&["create", "namespace", &cluster.namespace]);
    cluster.ask(&["create", "quota", "nothing", "--hard=pods=0"]);
    let app = Deployed::new(&cluster.settings());
    let said = ["the platform of deployed-app/production does not run", "exceeded quota: nothing"];
    app.fails(1, &["deploy", "new", "production"], &said);
    wait_for_objects(&cluster, KINDS, 0);
}

#[test]
fn a_release_whose_workers_are_refused_fails_with_the_words_of_the_cluster_and_the_one_before_serves() {
    let Some(cluster) = TestCluster::find() else { return };
    let app = live(&cluster);
    cluster.ask(&["create", "quota", "full", "--hard=pods=1"]);
    app.version("one", "two");
    let arguments = app.sending(&[]);
    app.fails(
        1,
        &arguments,
        &["release 2 did not become ready", "exceeded quota: full", "release 1 keeps serving"],
    );
    cluster.ask(&["delete", "quota", "full"]);
    assert_eq!(call(&app, "greet", &json!({ "name": "Ada" }))["version"], "one");
}
