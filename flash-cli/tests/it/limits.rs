//! What a worker may use of this machine, and that nothing of it outlives its worker.
//!
//! Where this machine allows no control groups, `flash` must say so; the tests see that it does.
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{
    Client, Running, SOON, fixture, is_alive,
    skipped::{Needs, skip},
    wait_for,
};

/// Runs a function to its end, and gives the job.
async fn run_sync(app: &Running, function: &str, input: Value) -> Value {
    Client::new().post(format!("{}/hungry/{function}/run_sync", app.url), input).await.json()
}

/// Whether this limit holds here, as the log says. It is said before anything is served.
fn holds(app: &Running, limit: &str) -> bool {
    let said = app.count("log", |line| {
        let text = line["text"].as_str().unwrap_or_default();
        let (limits, _) = text.split_once(" limits of instances are not applied: ").unwrap_or_default();
        line["worker_type"] == "platform" && limits.contains(limit)
    });
    assert!(said <= 1, "it is said once");
    if said == 1 {
        skip(Needs::Limits, &format!("{limit} limits are not applied here"));
    }
    said == 0
}

/// The directories of a worker's groups, made by `flash`.
fn groups(surroundings: &Value) -> Vec<PathBuf> {
    let lines = surroundings[0].as_str().unwrap().lines();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let own = lines.filter(|line| line.contains("/flash-"));
    own.map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap(), fields.next().unwrap());
        let mount = mounts.lines().find(|mount| match controllers {
            "" => mount.contains(" - cgroup2 "),
            _ => mount.contains(" - cgroup ") && mount.ends_with(&format!(",{controllers}")),
        });
        let mut mount = mount.unwrap().split(' ').skip(3);
        let (root, point) = (mount.next().unwrap(), mount.next().unwrap());
        Path::new(point).join(Path::new(path).strip_prefix(root).unwrap())
    })
    .collect()
}

#[tokio::test]
async fn a_worker_gets_the_cpu_time_of_its_instance() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let job = run_sync(&app, "burn", json!({ "threads": 4, "milliseconds": 1500 })).await;
    let cores = job["output"].as_f64().unwrap_or_else(|| panic!("{job}"));
    if holds(&app, "CPU") {
        assert!(cores < 1.3, "cpu3c-1-2 has one vCPU; it got {cores}");
    }
}

#[tokio::test]
async fn a_worker_over_its_memory_dies_alone_and_its_job_says_why() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    // Another worker, which must not notice.
    let before = run_sync(&app, "surroundings", json!({})).await;
    if !holds(&app, "memory") {
        return;
    }
    let job = run_sync(&app, "devour", json!({ "megabytes": 3 * 1024 })).await;
    let error = job["error"].as_str().unwrap_or_else(|| panic!("{job}"));
    assert!(error.contains("killed by SIGKILL: over its memory of 2 GB"), "{error}");
    let modest = run_sync(&app, "devour", json!({ "megabytes": 1024 })).await;
    assert_eq!(modest["output"], 1024 << 20, "{modest}");
    let after = run_sync(&app, "surroundings", json!({})).await;
    assert_eq!((&after["workerId"], &after["status"]), (&before["workerId"], &json!("COMPLETED")));
}

#[tokio::test]
async fn what_leaves_its_process_group_dies_with_its_worker() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let escaped = run_sync(&app, "escape", json!({})).await;
    let escaped = i32::try_from(escaped["output"].as_i64().unwrap_or_else(|| panic!("{escaped}"))).unwrap();
    assert!(is_alive(escaped));
    if !holds(&app, "process") {
        let _ = kill(Pid::from_raw(escaped), Signal::SIGKILL);
        return;
    }
    let parent = std::fs::read_to_string(format!("/proc/{escaped}/stat")).unwrap();
    let worker = parent.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap().parse().unwrap();
    kill(Pid::from_raw(worker), Signal::SIGKILL).unwrap();
    wait_for("the end of the escaped process", SOON, || match is_alive(escaped) {
        true => Err(format!("{escaped} lives")),
        false => Ok(()),
    });
}

#[tokio::test]
async fn groups_are_gone_after_flash_ends_in_whatever_way() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let app = Running::start(&fixture(), &["--no-reload"]);
        let escaped = run_sync(&app, "escape", json!({})).await["output"].as_i64().unwrap();
        let escaped = i32::try_from(escaped).unwrap();
        let surroundings = run_sync(&app, "surroundings", json!({})).await["output"].clone();
        let groups = groups(&surroundings);
        let any = ["CPU", "memory", "process"].iter().any(|limit| holds(&app, limit));
        assert_eq!(groups.is_empty(), !any, "{surroundings}");
        let platform: Vec<&Path> = groups.iter().map(|group| group.parent().unwrap()).collect();
        assert!(platform.iter().all(|group| group.is_dir()), "{platform:?}");
        app.signal(signal);
        app.wait();
        wait_for("the removal of groups", SOON, || {
            let left: Vec<_> = platform.iter().filter(|group| group.exists()).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        if any {
            wait_for("the end of the escaped process", SOON, || match is_alive(escaped) {
                true => Err(format!("{escaped} lives after {signal}")),
                false => Ok(()),
            });
        } else {
            let _ = kill(Pid::from_raw(escaped), Signal::SIGKILL);
        }
    }
}

#[tokio::test]
async fn a_group_goes_with_its_worker() {
    let app = Running::start(&fixture(), &["--no-reload"]);
    let surroundings = run_sync(&app, "surroundings", json!({})).await;
    let groups = groups(&surroundings["output"]);
    let any = ["CPU", "memory", "process"].iter().any(|limit| holds(&app, limit));
    assert_eq!(groups.is_empty(), !any, "{surroundings}");
    assert!(groups.iter().all(|group| group.ends_with(surroundings["workerId"].as_str().unwrap())));
    let Some(first) = groups.first() else { return };
    let worker = std::fs::read_to_string(first.join("cgroup.procs")).unwrap();
    kill(Pid::from_raw(worker.lines().next().unwrap().parse().unwrap()), Signal::SIGKILL).unwrap();
    wait_for("the removal of groups", SOON, || {
        let left: Vec<_> = groups.iter().filter(|group| group.exists()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
}

#[tokio::test]
async fn a_worker_has_async_threads_for_its_vcpus_and_no_gpu_of_others() {
    let app = Running::start_with(&fixture(), &["--no-reload"], &[("TOKIO_WORKER_THREADS", "3")]);
    let surroundings = run_sync(&app, "surroundings", json!({})).await;
    assert_eq!(surroundings["output"][1], "3", "who sets it for all sets it for workers");
    let app = Running::start(&fixture(), &["--no-reload"]);
    let surroundings = run_sync(&app, "surroundings", json!({})).await;
    assert_eq!(surroundings["output"][1], "1", "cpu3c-1-2 has one vCPU");
    let has_driver = Path::new("/dev/nvidiactl").exists();
    assert_eq!(surroundings["output"][2], if has_driver { "" } else { "unset" });
    let given = run_sync(&app, "given", json!({})).await;
    if has_driver {
        assert_ne!(given["output"], "unset");
        assert_ne!(given["output"], "");
    } else {
        assert_eq!(given["output"], "unset");
        let said = |line: &Value| line["text"] == "no GPU found: workers of GPU worker types run on the CPU";
        app.event("log", said);
        assert_eq!(app.count("log", said), 1);
    }
}
